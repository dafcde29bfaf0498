// A Gaussian blur of an alpha, one axis a launch; the frame's edge is repeated, the result is kept in 0..1.
#include "prelude.cuh"

const int kLine = 128;  // outputs of a block

// Blocks along x are rows. vertical: down the columns, else along the rows. Shared memory: 2 * radius + 1 weights, and
// for rows the strip.
KERNEL(128) feather_axis(const float* in, long long stride, float* out, int height, int width, int radius, float sigma,
                         int vertical) {
  DYNAMIC_SHARED(float, weights);
  float* strip = weights + 2 * radius + 1;
  const int t = threadIdx.x, y = blockIdx.x, left = blockIdx.y * kLine;
  for (int k = t; k <= 2 * radius; k += kLine) {
    const float from = (float)(k - radius) / sigma;
    weights[k] = expf(-0.5f * from * from);
  }
  if (!vertical)
    for (int i = t; i < kLine + 2 * radius; i += kLine)
      strip[i] = row_of(in, stride, y)[clamped(left + i - radius, 0, width - 1)];
  __syncthreads();
  const int x = left + t;
  if (x >= width) return;
  float total = 0.f, weight = 0.f;
  for (int k = 0; k <= 2 * radius; ++k) {
    const float value = vertical ? row_of(in, stride, clamped(y + k - radius, 0, height - 1))[x] : strip[t + k];
    total += weights[k] * value;
    weight += weights[k];
  }
  out[(long long)y * width + x] = __saturatef(total / weight);
}
