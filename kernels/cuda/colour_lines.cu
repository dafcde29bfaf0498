// Alpha from affine functions of the colour, drawn on a photograph where its trimap is unknown.
#include "lines.cuh"

// lines: float (5, small_height, small_width). prior: rows `prior_stride` apart. bands: byte (height, width) of 0, 128
// and 255. out: float (height, width), 0 and 1 where the trimap knows.
KERNEL(256) colour_lines(const float* lines, const byte* image, long long stride, const float* prior,
                         long long prior_stride, const byte* bands, float* out, int height, int width, int small_height,
                         int small_width) {
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= width || y >= height) return;
  const long long at = (long long)y * width + x;
  const byte band = bands[at];
  float value = band == 255 ? 1.f : 0.f;
  if (band == 128) {
    const Taps down = taps_at(LINEAR, y, small_height, height), across = taps_at(LINEAR, x, small_width, width);
    const byte* pixel = row_of(image, stride, y) + 3LL * x;
    value = __saturatef(line_at(lines, small_height, small_width, down, across, pixel, row_of(prior, prior_stride, y)[x]));
  }
  out[at] = value;
}
