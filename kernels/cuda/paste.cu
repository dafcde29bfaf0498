// Masks of crops, resized to their windows and put back into the photograph: the larger value where windows overlap.
// Every pixel of the photograph looks at all masks, so it is written once, and nothing needs an atomic.
#include "prelude.cuh"
#include "resample.cuh"

struct PasteJob {
  const byte* mask;
  long long stride;
  int height, width;
  int x0, y0, x1, y1;  // the window in the photograph
  int filter, unused;
};

KERNEL(256) paste_masks(const PasteJob* jobs, int count, float* out, int height, int width) {
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= width || y >= height) return;
  float most = 0.f;
  for (int k = 0; k < count; ++k) {
    const PasteJob job = jobs[k];
    if (x < job.x0 || x >= job.x1 || y < job.y0 || y >= job.y1) continue;
    const Taps down = taps_at(job.filter, y - job.y0, job.height, job.y1 - job.y0);
    const Taps across = taps_at(job.filter, x - job.x0, job.width, job.x1 - job.x0);
    const float value = sample(job.mask, job.stride, job.height, job.width, 1, 0, job.filter, down, across);
    most = fmaxf(most, fminf(value * (1.f / 255.f), 1.f));
  }
  out[(long long)y * width + x] = most;
}
