// A trimap from a soft mask: every unsure pixel, and every pixel at the 0.5 contour, is a seed that makes the square
// around it unknown; the square's radius is the seed's own, wider where most of what surrounds it is unsure.
//
// In cells of block * block pixels. A union of squares of different radii separates: along a row, each cell takes the
// largest radius of the seeds whose square reaches it; down a column, a cell is in the band when one of those reaches it.
#include "prelude.cuh"

__device__ __forceinline__ bool is_inside(const float* alpha, long long stride, int y, int x) {
  return row_of(alpha, stride, y)[x] >= 0.5f;
}

__device__ __forceinline__ bool at_contour(const float* alpha, long long stride, int height, int width, int y, int x) {
  const bool here = is_inside(alpha, stride, y, x);
  for (int j = max(y - 1, 0); j <= min(y + 1, height - 1); ++j)
    for (int i = max(x - 1, 0); i <= min(x + 1, width - 1); ++i)
      if (is_inside(alpha, stride, j, i) != here) return true;
  return false;
}

// seeds: byte (rows, columns), 1 where a cell holds a seed. soft: byte, the share of unsure pixels, 0..255.
// Cells that hang over the frame see its last pixels repeated.
KERNEL(256) trimap_cells(const float* alpha, long long stride, byte* seeds, byte* soft, int height, int width, int rows,
                         int columns, int block, float low, float high) {
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= columns || y >= rows) return;
  int unsure = 0;
  bool seed = false;
  for (int j = 0; j < block; ++j)
    for (int i = 0; i < block; ++i) {
      const int py = min(y * block + j, height - 1), px = min(x * block + i, width - 1);
      const float value = row_of(alpha, stride, py)[px];
      const bool is_soft = value > low && value < high;
      unsure += is_soft;
      seed = seed || is_soft || at_contour(alpha, stride, height, width, py, px);
    }
  seeds[y * columns + x] = seed;
  soft[y * columns + x] = to_byte(255.f * (float)unsure / (float)(block * block));
}

KERNEL(256) trimap_soft_rows(const byte* soft, int* sums, int rows, int columns, int reach) {
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= columns || y >= rows) return;
  int total = 0;
  for (int i = x - reach; i <= x + reach; ++i) total += soft[y * columns + mirrored(i, columns)];
  sums[y * columns + x] = total;
}

// radii: -1 without a seed, else how far, in cells, the seed's square reaches. wider: what one, two and three thirds of
// the reach are, rounded; a seed gets one more third for each of three levels that the local softness comes up to.
KERNEL(256) trimap_radii(const byte* seeds, const int* sums, int* radii, int rows, int columns, int reach, int wider1,
                         int wider2, int wider3, float level1, float level2, float level3) {
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= columns || y >= rows) return;
  int radius = -1;
  if (seeds[y * columns + x]) {
    int total = 0;
    for (int j = y - reach; j <= y + reach; ++j) total += sums[mirrored(j, rows) * columns + x];
    const float softness = rintf((float)total / (float)((2 * reach + 1) * (2 * reach + 1)));
    radius = reach + (softness >= level3 ? wider3 : softness >= level2 ? wider2 : softness >= level1 ? wider1 : 0);
  }
  radii[y * columns + x] = radius;
}

const int kStrip = 128;  // cells of a block

// Blocks along x are rows. Shared memory: kStrip + 2 * furthest ints.
KERNEL(128) trimap_spread_rows(const int* radii, int* reaching, int columns, int furthest) {
  DYNAMIC_SHARED(int, near);
  const int* row = radii + (long long)blockIdx.x * columns;
  const int left = blockIdx.y * kStrip - furthest;
  for (int i = threadIdx.x; i < kStrip + 2 * furthest; i += kStrip) {
    const int x = left + i;
    near[i] = x >= 0 && x < columns ? row[x] : -1;
  }
  __syncthreads();
  const int x = blockIdx.y * kStrip + threadIdx.x;
  if (x >= columns) return;
  int most = -1;
  for (int d = -furthest; d <= furthest; ++d) {
    const int radius = near[threadIdx.x + furthest + d];
    if (radius >= (d < 0 ? -d : d)) most = max(most, radius);
  }
  reaching[(long long)blockIdx.x * columns + x] = most;
}

KERNEL(256) trimap_spread_columns(const int* reaching, byte* band, int rows, int columns, int furthest) {
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= columns || y >= rows) return;
  bool unknown = false;
  for (int j = max(y - furthest, 0); j <= min(y + furthest, rows - 1) && !unknown; ++j)
    unknown = reaching[(long long)j * columns + x] >= (j < y ? y - j : j - y);
  band[y * columns + x] = unknown;
}

KERNEL(256) trimap_paint(const float* alpha, long long stride, const byte* band, byte* out, int height, int width,
                         int columns, int block) {
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= width || y >= height) return;
  const bool unknown = band[y / block * columns + x / block];
  out[(long long)y * width + x] = unknown ? 128 : is_inside(alpha, stride, y, x) ? 255 : 0;
}
