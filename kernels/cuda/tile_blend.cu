// Colour lines of tiles, drawn on the photograph and joined: each tile falls to nearly nothing at its edge, where its
// neighbour begins. Every pixel looks at all tiles, in their order, so it is written once, and nothing needs an atomic.
#include "lines.cuh"

struct TileJob {
  const float* lines;          // (5, rows, columns), of what the network was shown
  int rows, columns;
  int left, top, right, bottom;  // what it was shown; may reach beyond the frame
  int x0, y0, x1, y1;          // inner: what the tile has alone
  int wx0, wy0, wx1, wy1;      // wide: what it draws
};

// Of 1 inside, falling linearly over 2 * blend pixels towards a side at which the tile passes into another.
__device__ __forceinline__ float ramp_at(int at, int length, bool before, bool after, float part) {
  float weight = 1.f;
  if (before) weight = fminf(weight, ((float)at + 0.5f) * part);
  if (after) weight = fminf(weight, ((float)(length - at) - 0.5f) * part);
  return fmaxf(weight, 1.f / 255.f);
}

// bands, guess: (height, width), contiguous. broken: int, begins at 0; becomes 1 where a tile is not finite.
KERNEL(256) tile_blend(const TileJob* tiles, int count, const byte* image, long long stride, const float* guess,
                       const float* soft, long long soft_stride, const byte* bands, float* out, int* broken, int height,
                       int width, float part) {
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= width || y >= height) return;
  const long long at = (long long)y * width + x;
  const byte band = bands[at];
  if (band != 128) {
    out[at] = band == 255 ? 1.f : 0.f;
    return;
  }
  float value = row_of(soft, soft_stride, y)[x];
  int before = 0;  // the largest weight so far, 0..255
  for (int k = 0; k < count; ++k) {
    const TileJob* tile = tiles + k;
    if (x < tile->wx0 || x >= tile->wx1 || y < tile->wy0 || y >= tile->wy1) continue;
    const Taps down = taps_at(LINEAR, y - tile->top, tile->rows, tile->bottom - tile->top);
    const Taps across = taps_at(LINEAR, x - tile->left, tile->columns, tile->right - tile->left);
    const float found = line_at(tile->lines, tile->rows, tile->columns, down, across,
                                row_of(image, stride, y) + 3LL * x, guess[at]);
    if (!(fabsf(found) <= 3e38f)) *broken = 1;
    const float weight =
        fminf(ramp_at(x - tile->wx0, tile->wx1 - tile->wx0, tile->x0 > tile->wx0, tile->x1 < tile->wx1, part),
              ramp_at(y - tile->wy0, tile->wy1 - tile->wy0, tile->y0 > tile->wy0, tile->y1 < tile->wy1, part));
    const float share = weight / (weight + (float)before / 255.f);
    value = __saturatef(found) * share + value * (1.f - share);
    before = max(before, (int)(weight * 255.f));
  }
  out[at] = value;
}
