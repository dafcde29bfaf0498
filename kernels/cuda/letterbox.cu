// Photographs, or windows of them, resized into planes of bytes: the picture, and around it the filling.
#include "jobs.cuh"
#include "resample.cuh"

// out: u8 (jobs, 3, height, width). peaks: int (jobs), begins at 0, the largest byte of each.
KERNEL(256) letterbox_planes(const ResizeJob* jobs, byte* out, int* peaks, int height, int width, int fill, int bgr) {
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  const ResizeJob job = jobs[blockIdx.z];
  int peak = 0;
  if (x < width && y < height) {
    byte r = (byte)fill, g = r, b = r;
    const int px = x - job.left, py = y - job.top;
    if (px >= 0 && px < job.out_width && py >= 0 && py < job.out_height) {
      const Taps down = taps_at(job.filter, py, job.height, job.out_height);
      const Taps across = taps_at(job.filter, px, job.width, job.out_width);
      const float3 value = sample_rgb(job.source, job.stride, job.height, job.width, job.filter, down, across);
      const bool two_by_two = job.height == 2 * job.out_height && job.width == 2 * job.out_width;
      r = mean_byte(value.x, two_by_two);
      g = mean_byte(value.y, two_by_two);
      b = mean_byte(value.z, two_by_two);
    }
    const long long plane = (long long)height * width;
    byte* at = out + 3 * plane * blockIdx.z + (long long)y * width + x;
    at[0] = bgr ? b : r;
    at[plane] = g;
    at[2 * plane] = bgr ? r : b;
    peak = max((int)r, max((int)g, (int)b));
  }
  peak_into(&peaks[blockIdx.z], peak);
}
