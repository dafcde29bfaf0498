// The matte of a trimap: 1 and 0 where it is sure, in the band what a filter found there, its haze taken off.
#include "prelude.cuh"

// bands: byte (height, width) of 0, 128 and 255. filtered: of the window (x0, y0) to (x1, y1), which holds the band;
// rows `stride` apart. sure: values up to it become 0, those from 1 - sure on 1; scale: 1 / (1 - 2 sure).
KERNEL(256) band_matte(const byte* bands, const float* filtered, long long stride, float* out, int height, int width,
                       int x0, int y0, int x1, int y1, float sure, float scale) {
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= width || y >= height) return;
  const long long at = (long long)y * width + x;
  const byte band = bands[at];
  float value = band == 255 ? 1.f : 0.f;
  if (band == 128 && x >= x0 && x < x1 && y >= y0 && y < y1)
    value = __saturatef((row_of(filtered, stride, y - y0)[x - x0] - sure) * scale);
  out[at] = value;
}
