// Sums and counts of an alpha, one pass over it: what the score is made of.
#include "prelude.cuh"

// alpha: float (images, height, width), rows `stride` bytes apart, images `image_stride`. sums: double (images, 2): of
// alpha, of |2 alpha - 1| over the subject. counts: int (images, 4): subject, sure, at the frame, and the bits of the
// largest alpha, which order like whole numbers since none is negative. Both begin at 0.
KERNEL(256) alpha_sums(const float* alpha, long long stride, long long image_stride, double* sums, int* counts,
                       int height, int width) {
  const float* image = row_of(alpha, image_stride, blockIdx.z);
  float area = 0.f, certainty = 0.f;
  int subject = 0, sure = 0, frame = 0, peak = 0;
  for (int y = blockIdx.y; y < height; y += gridDim.y) {
    const float* row = row_of(image, stride, y);
    for (int x = blockIdx.x * blockDim.x + threadIdx.x; x < width; x += gridDim.x * blockDim.x) {
      const float value = row[x];
      area += value;
      peak = max(peak, __float_as_int(value));
      sure += value >= 0.95f;
      if (value >= 0.05f) {
        ++subject;
        certainty += fabsf(2.f * value - 1.f);
      }
      if (value >= 0.5f) {  // the first and the last row, and the ends of those between; a single row counts twice
        frame += (y == 0) + (y == height - 1);
        if (y > 0 && y < height - 1) frame += (x == 0) + (x == width - 1);
      }
    }
  }
  for (int by = 16; by > 0; by >>= 1) {
    area += __shfl_xor_sync(ALL_LANES, area, by);
    certainty += __shfl_xor_sync(ALL_LANES, certainty, by);
    subject += __shfl_xor_sync(ALL_LANES, subject, by);
    sure += __shfl_xor_sync(ALL_LANES, sure, by);
    frame += __shfl_xor_sync(ALL_LANES, frame, by);
    peak = max(peak, __shfl_xor_sync(ALL_LANES, peak, by));
  }
  if (threadIdx.x & 31) return;
  atomicAdd(&sums[2 * blockIdx.z], (double)area);
  atomicAdd(&sums[2 * blockIdx.z + 1], (double)certainty);
  atomicAdd(&counts[4 * blockIdx.z], subject);
  atomicAdd(&counts[4 * blockIdx.z + 1], sure);
  atomicAdd(&counts[4 * blockIdx.z + 2], frame);
  atomicMax(&counts[4 * blockIdx.z + 3], peak);
}
