// Where a mask is unsure: how many pixels are, and what follows from their share around each pixel.
#include "prelude.cuh"

__device__ __forceinline__ bool is_unsure(float value, float low, float high) { return value > low && value < high; }

// counts: int (2), begin at 0: pixels from `high` on, and those strictly between `low` and `high`.
KERNEL(256) unsure_counts(const float* alpha, long long stride, int* counts, int height, int width, float low,
                          float high) {
  int sure = 0, unsure = 0;
  for (int y = blockIdx.y; y < height; y += gridDim.y) {
    const float* row = row_of(alpha, stride, y);
    for (int x = blockIdx.x * blockDim.x + threadIdx.x; x < width; x += gridDim.x * blockDim.x) {
      sure += row[x] >= high;
      unsure += is_unsure(row[x], low, high);
    }
  }
  for (int by = 16; by > 0; by >>= 1) {
    sure += __shfl_xor_sync(ALL_LANES, sure, by);
    unsure += __shfl_xor_sync(ALL_LANES, unsure, by);
  }
  if (threadIdx.x & 31) return;
  atomicAdd(&counts[0], sure);
  atomicAdd(&counts[1], unsure);
}

// 1 where the mask is unsure and 0 elsewhere, `margin` pixels mirrored at each side of the frame.
// out: float (height + 2 margin, width + 2 margin).
KERNEL(256) unsure_plane(const float* alpha, long long stride, float* out, int height, int width, int margin, float low,
                         float high) {
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  const int columns = width + 2 * margin;
  if (x >= columns || y >= height + 2 * margin) return;
  const float value = row_of(alpha, stride, mirrored(y - margin, height))[mirrored(x - margin, width)];
  out[(long long)y * columns + x] = is_unsure(value, low, high) ? 1.f : 0.f;
}

// share: float (height, width), (around - least) * scale in 0..1: rounded after each of the two, as on the host. asked:
// byte (height, width), whether that is more than nothing where the trimap is unknown.
KERNEL(256) unsure_share(const float* around, long long stride, const byte* bands, float* share, byte* asked, int height,
                         int width, float least, float scale) {
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= width || y >= height) return;
  const long long at = (long long)y * width + x;
  const float value = __saturatef((row_of(around, stride, y)[x] - least) * scale);
  share[at] = value;
  asked[at] = bands[at] == 128 && value > 0.f;
}
