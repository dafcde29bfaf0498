// The subject's own colours, and the background's, from coarse to fine.
// Germer, Uelwer, Conrad, Harmeling: Fast Multi-Level Foreground Estimation, ICPR 2020 (arXiv 2006.14970).
// Forte: Approximate Fast Foreground Colour Estimation, ICIP 2021.
//
// Colours are float (height, width, 6): red, green, blue of the foreground, then of the background, in 0..1. Within a
// sweep the even squares of a chessboard take their turn, then the odd ones, so that no thread reads what another writes.
#include "prelude.cuh"
#include "resample.cuh"

const float kRegularization = 1e-5f, kGradientWeight = 1.f;
const int kSmall = 32, kSmallSweeps = 10, kWindow = 7;

// Image and alpha at a smaller size: means of what each pixel covers. image: rows `stride` apart; out: contiguous.
KERNEL(256) foreground_reduce(const byte* image, long long stride, const float* alpha, long long alpha_stride,
                              byte* out_image, float* out_alpha, int full_height, int full_width, int height,
                              int width) {
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= width || y >= height) return;
  const Taps down = taps_at(AREA, y, full_height, height), across = taps_at(AREA, x, full_width, width);
  const bool two_by_two = full_height == 2 * height && full_width == 2 * width;
  const float3 value = sample_rgb(image, stride, full_height, full_width, AREA, down, across);
  const long long at = (long long)y * width + x;
  out_image[3 * at] = mean_byte(value.x, two_by_two);
  out_image[3 * at + 1] = mean_byte(value.y, two_by_two);
  out_image[3 * at + 2] = mean_byte(value.z, two_by_two);
  float total = 0.f;
  for (int j = 0; j < down.count; ++j) {
    const float* row = row_of(alpha, alpha_stride, min(down.first + j, full_height - 1));
    float line = 0.f;
    for (int i = 0; i < across.count; ++i)
      line += tap_weight(across, AREA, i) * __saturatef(row[min(across.first + i, full_width - 1)]);
    total += tap_weight(down, AREA, j) * line;
  }
  out_alpha[at] = total;
}

// sums: int (8), begins at 0: red, green, blue and number of the pixels surely inside, then of those surely outside.
KERNEL(256) foreground_means(const byte* image, const float* alpha, int* sums, int pixels) {
  int own[8] = {0, 0, 0, 0, 0, 0, 0, 0};
  for (int at = blockIdx.x * blockDim.x + threadIdx.x; at < pixels; at += gridDim.x * blockDim.x) {
    const bool inside = alpha[at] > 0.9f, outside = alpha[at] < 0.1f;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const int value = k < 3 ? image[3LL * at + k] : 1;
      own[k] += inside ? value : 0;
      own[4 + k] += outside ? value : 0;
    }
  }
#pragma unroll
  for (int k = 0; k < 8; ++k) {
    for (int by = 16; by > 0; by >>= 1) own[k] += __shfl_xor_sync(ALL_LANES, own[k], by);
    if ((threadIdx.x & 31) == 0) atomicAdd(&sums[k], own[k]);
  }
}

// One step of the paper's equation 6 for one pixel; `colours` may lie in shared or in global memory.
__device__ __forceinline__ void step(const byte* image, const float* alpha, float* colours, int height, int width, int y,
                                     int x) {
  const int at = y * width + x;
  const int beside[4] = {y > 0 ? at - width : at, y < height - 1 ? at + width : at, x > 0 ? at - 1 : at,
                         x < width - 1 ? at + 1 : at};
  const float a0 = alpha[at], a1 = 1.f - a0;
  float total[6], pull = 0.f;
#pragma unroll
  for (int c = 0; c < 3; ++c) {
    const float value = (float)image[3LL * at + c] * (1.f / 255.f);
    total[c] = a0 * value;
    total[3 + c] = a1 * value;
  }
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const float weight = kRegularization + kGradientWeight * fabsf(a0 - alpha[beside[k]]);
    pull += weight;
#pragma unroll
    for (int c = 0; c < 6; ++c) total[c] += weight * colours[6LL * beside[k] + c];
  }
  const float a00 = a0 * a0 + pull, a01 = a0 * a1, a11 = a1 * a1 + pull, scale = 1.f / (a00 * a11 - a01 * a01);
  const float i11 = a11 * scale, i01 = a01 * scale, i00 = a00 * scale;
#pragma unroll
  for (int c = 0; c < 3; ++c) {
    const float f = total[c], b = total[3 + c];
    colours[6LL * at + c] = __saturatef(i11 * f - i01 * b);
    colours[6LL * at + 3 + c] = __saturatef(i00 * b - i01 * f);
  }
}

struct Level { int height, width, at, unused; };  // at: its first pixel in the pyramid's images and alphas

// All levels of at most kSmall pixels to a side, the coarsest first, by one block in shared memory.
// levels: `count` of them, finest first. out: the colours of the finest.
// Shared memory: 6 floats for each pixel of the finest, and for each of the one above it.
KERNEL(256) foreground_small(const Level* levels, int count, const byte* images, const float* alphas, const int* sums,
                             float* out) {
  DYNAMIC_SHARED(float, colours);
  float* coarser = colours + 6 * levels[0].height * levels[0].width;
  const int t = threadIdx.x;
  if (t < 6) {  // read back by the same thread, since the coarsest level is one pixel
    const int n = sums[t < 3 ? 3 : 7];
    coarser[t] = (n ? (float)sums[t < 3 ? t : t + 1] / (float)n : 127.5f) / 255.f;
  }
  int before_height = 1, before_width = 1;
  for (int k = count - 1; k >= 0; --k) {
    const Level level = levels[k];
    const int pixels = level.height * level.width;
    for (int i = t; i < 6 * pixels; i += blockDim.x) {
      const int x = i / 6 % level.width, y = i / 6 / level.width;
      const int from = y * before_height / level.height * before_width + x * before_width / level.width;
      colours[i] = coarser[6 * from + i % 6];
    }
    __syncthreads();
    for (int half = 0; half < 2 * kSmallSweeps; ++half) {
      for (int i = t; i < pixels; i += blockDim.x) {
        const int x = i % level.width, y = i / level.width;
        if (((x + y) & 1) == (half & 1))
          step(images + 3 * level.at, alphas + level.at, colours, level.height, level.width, y, x);
      }
      __syncthreads();
    }
    if (k) {
      for (int i = t; i < 6 * pixels; i += blockDim.x) coarser[i] = colours[i];
      __syncthreads();
    }
    before_height = level.height;
    before_width = level.width;
  }
  for (int i = t; i < 6 * before_height * before_width; i += blockDim.x) out[i] = colours[i];
}

// The colours of a level, taken over by the next finer one.
KERNEL(256) foreground_enlarge(const float* coarser, float* colours, int before_height, int before_width, int height,
                               int width) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y;
  if (i >= 6 * width) return;
  const int from = y * before_height / height * before_width + i / 6 * before_width / width;
  colours[6LL * y * width + i] = coarser[6LL * from + i % 6];
}

KERNEL(256) foreground_sweep(const byte* image, const float* alpha, float* colours, int height, int width, int half) {
  const int y = blockIdx.y * blockDim.y + threadIdx.y;
  const int x = 2 * (blockIdx.x * blockDim.x + threadIdx.x) + ((y + half) & 1);
  if (x >= width || y >= height) return;
  const float mix = alpha[y * width + x];
  if (mix > 0.f && mix < 1.f) step(image, alpha, colours, height, width, y, x);
}

__device__ __forceinline__ float as_byte(float x) { return floorf(__saturatef(x) * 255.f + 0.5f); }

// A whole number in 0..255 as the NumPy version rounds: half added, clipped, cut off.
__device__ __forceinline__ byte rounded(float x) { return (byte)fminf(fmaxf(x + 0.5f, 0.f), 255.f); }

// Colours at full size, and Forte's closed form, for F and for B, where they mix. front, back: byte (height, width, 3).
// outside: behind what is surely background lies the photograph.
KERNEL(256) foreground_close(const byte* image, long long stride, const float* alpha, long long alpha_stride,
                             const float* colours, byte* front, byte* back, int height, int width, int small_height,
                             int small_width, int outside) {
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= width || y >= height) return;
  const Taps down = taps_at(LINEAR, y, small_height, height), across = taps_at(LINEAR, x, small_width, width);
  const int x0 = clamped(across.first, 0, small_width - 1), x1 = clamped(across.first + 1, 0, small_width - 1);
  const int y0 = clamped(down.first, 0, small_height - 1), y1 = clamped(down.first + 1, 0, small_height - 1);
  const byte* pixel = row_of(image, stride, y) + 3 * x;
  const float weight = __saturatef(row_of(alpha, alpha_stride, y)[x]);
  const long long at = 3 * ((long long)y * width + x);
  float value[6];
#pragma unroll
  for (int c = 0; c < 6; ++c) {
    const float above = as_byte(colours[6LL * (y0 * small_width + x0) + c]) * across.weight[0] +
                        as_byte(colours[6LL * (y0 * small_width + x1) + c]) * across.weight[1];
    const float below = as_byte(colours[6LL * (y1 * small_width + x0) + c]) * across.weight[0] +
                        as_byte(colours[6LL * (y1 * small_width + x1) + c]) * across.weight[1];
    value[c] = (float)to_byte(above * down.weight[0] + below * down.weight[1]);
  }
#pragma unroll
  for (int c = 0; c < 3; ++c) {
    float f = value[c], b = value[3 + c];
    if (weight > 0.f && weight < 1.f) {
      const float missing = (float)pixel[c] - weight * f - (1.f - weight) * b;
      f += weight * missing;
      b += (1.f - weight) * missing;
    }
    front[at + c] = weight >= 1.f ? pixel[c] : rounded(f);
    back[at + c] = outside && weight <= 0.f ? pixel[c] : rounded(b);
  }
}

// The closed form once more, around means of F and B in a small window, each pixel counted by how much of it is F, or B.
KERNEL(256) foreground_sharpen(const byte* image, long long stride, const float* alpha, long long alpha_stride,
                               const byte* front, const byte* back, byte* out, int height, int width) {
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= width || y >= height) return;
  const long long at = 3 * ((long long)y * width + x);
  const float weight = __saturatef(row_of(alpha, alpha_stride, y)[x]);
  if (!(weight > 0.f && weight < 1.f)) {
    for (int c = 0; c < 3; ++c) out[at + c] = front[at + c];
    return;
  }
  const int reach = kWindow / 2;
  const float part = 1.f / (float)(kWindow * kWindow);
  float share = 0.f, f[3] = {0.f, 0.f, 0.f}, b[3] = {0.f, 0.f, 0.f};
#pragma unroll 1  // else registers spill on sm_100
  for (int j = y - reach; j <= y + reach; ++j) {
    const int row = mirrored(j, height);
    const float* alphas = row_of(alpha, alpha_stride, row);
#pragma unroll 1
    for (int i = x - reach; i <= x + reach; ++i) {
      const int column = mirrored(i, width);
      const float a = __saturatef(alphas[column]);
      const long long near = 3 * ((long long)row * width + column);
      share += a;
#pragma unroll
      for (int c = 0; c < 3; ++c) {
        f[c] += a * (float)front[near + c];
        b[c] += (1.f - a) * (float)back[near + c];
      }
    }
  }
  share *= part;
  const byte* pixel = row_of(image, stride, y) + 3 * x;
#pragma unroll
  for (int c = 0; c < 3; ++c) {
    const float mean_f = f[c] * part / (share + 1e-5f), mean_b = b[c] * part / (1.f - share + 1e-5f);
    out[at + c] = rounded(mean_f + weight * ((float)pixel[c] - weight * mean_f - (1.f - weight) * mean_b));
  }
}
