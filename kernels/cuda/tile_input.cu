// What the matting network is shown of tiles of a photograph: seven planes, at a whole fraction of its size.
#include "prelude.cuh"
#include "resample.cuh"

// corners: int (tiles, 2), left and top of each tile, which may lie outside: there the frame's last pixels are repeated.
// guess, bands: (full_height, full_width), contiguous. out: float (tiles, 7, height, width), each value of step * step
// pixels: the colours, known foreground and background (all of them), means of mask and guess. Blocks along z are tiles.
KERNEL(256) tile_input(const byte* image, long long stride, const float* soft, long long soft_stride, const byte* bands,
                       const float* guess, const int* corners, float* out, int full_height, int full_width, int height,
                       int width, int step) {
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= width || y >= height) return;
  const int left = corners[2 * blockIdx.z] + x * step, top = corners[2 * blockIdx.z + 1] + y * step;
  int red = 0, green = 0, blue = 0, front = 0, back = 0;
  float mask = 0.f, first = 0.f;
  for (int j = 0; j < step; ++j) {
    const int py = clamped(top + j, 0, full_height - 1);
    const byte* row = row_of(image, stride, py);
    const float* soft_row = row_of(soft, soft_stride, py);
    const long long begin = (long long)py * full_width;
    for (int i = 0; i < step; ++i) {
      const int px = clamped(left + i, 0, full_width - 1);
      const byte* pixel = row + 3LL * px;
      red += pixel[0];
      green += pixel[1];
      blue += pixel[2];
      const byte band = bands[begin + px];
      front += band == 255;
      back += band == 0;
      mask += band == 128 ? soft_row[px] : band == 255 ? 1.f : 0.f;
      first += guess[begin + px];
    }
  }
  const int pixels = step * step;
  const float part = 1.f / (float)pixels;
  const long long plane = (long long)height * width;
  float* to = out + 7 * plane * blockIdx.z + (long long)y * width + x;
  to[0] = (float)mean_byte((float)red * part, step == 2) * (1.f / 255.f);
  to[plane] = (float)mean_byte((float)green * part, step == 2) * (1.f / 255.f);
  to[2 * plane] = (float)mean_byte((float)blue * part, step == 2) * (1.f / 255.f);
  to[3 * plane] = front == pixels ? 1.f : 0.f;
  to[4 * plane] = back == pixels ? 1.f : 0.f;
  to[5 * plane] = mask * part;
  to[6 * plane] = first * part;
}
