// Two mattes of one photograph, mixed by a share of each pixel, and what comes out with the mask by one share.
#include "prelude.cuh"

// matte, other, share: float (height, width), contiguous; soft: rows `stride` apart.
KERNEL(256) mix(const float* matte, const float* other, const float* share, const float* soft, long long stride,
                float* out, int height, int width, float done) {
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= width || y >= height) return;
  const long long at = (long long)y * width + x;
  float value = matte[at] + (other[at] - matte[at]) * share[at];
  if (done < 1.f) {
    const float mask = row_of(soft, stride, y)[x];
    value = mask + (value - mask) * done;
  }
  out[at] = value;
}
