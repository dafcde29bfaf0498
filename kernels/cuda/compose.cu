// A foreground with its alpha as RGBA, or laid over a background (Porter and Duff's 'over', 1984).
#include "prelude.cuh"

// Alpha as a byte: clipped, scaled, rounded half up.
__device__ __forceinline__ byte alpha_byte(float x) { return (byte)(fminf(fmaxf(x, 0.f), 1.f) * 255.f + 0.5f); }
__device__ __forceinline__ byte alpha_byte(byte x) { return x; }
__device__ __forceinline__ float alpha_weight(float x) { return x; }
__device__ __forceinline__ float alpha_weight(byte x) { return (float)x * (1.f / 255.f); }
__device__ __forceinline__ bool is_full(float x) { return x >= 1.f; }
__device__ __forceinline__ bool is_full(byte x) { return x == 255; }

template <class A>
__device__ __forceinline__ void rgba(const byte* front, long long front_stride, const A* alpha, long long alpha_stride,
                                     uchar4* out, int height, int width) {
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= width || y >= height) return;
  const byte* pixel = row_of(front, front_stride, y) + 3 * x;
  out[(long long)y * width + x] = uchar4{pixel[0], pixel[1], pixel[2], alpha_byte(row_of(alpha, alpha_stride, y)[x])};
}

KERNEL(256) compose_rgba_floats(const byte* front, long long front_stride, const float* alpha, long long alpha_stride,
                                uchar4* out, int height, int width) {
  rgba(front, front_stride, alpha, alpha_stride, out, height, width);
}
KERNEL(256) compose_rgba_bytes(const byte* front, long long front_stride, const byte* alpha, long long alpha_stride,
                               uchar4* out, int height, int width) {
  rgba(front, front_stride, alpha, alpha_stride, out, height, width);
}

KERNEL(256) compose_alpha_bytes(const float* alpha, long long stride, byte* out, int height, int width) {
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x < width && y < height) out[(long long)y * width + x] = alpha_byte(row_of(alpha, stride, y)[x]);
}

// back: an image, or null for one colour.
template <class A>
__device__ __forceinline__ void over(const byte* front, long long front_stride, const A* alpha, long long alpha_stride,
                                     const byte* back, long long back_stride, int red, int green, int blue, byte* out,
                                     int height, int width) {
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= width || y >= height) return;
  const byte* f = row_of(front, front_stride, y) + 3 * x;
  const A a = row_of(alpha, alpha_stride, y)[x];
  const float weight = alpha_weight(a);
  byte* to = out + ((long long)y * width + x) * 3;
#pragma unroll
  for (int k = 0; k < 3; ++k) {
    const int b = back ? row_of(back, back_stride, y)[3 * x + k] : k == 0 ? red : k == 1 ? green : blue;
    if (is_full(a)) to[k] = f[k];
    else if (weight <= 0.f) to[k] = (byte)b;
    else to[k] = (byte)((float)b + ((float)f[k] - (float)b) * weight + 0.5f);
  }
}

KERNEL(256) compose_over_floats(const byte* front, long long front_stride, const float* alpha, long long alpha_stride,
                                const byte* back, long long back_stride, int red, int green, int blue, byte* out,
                                int height, int width) {
  over(front, front_stride, alpha, alpha_stride, back, back_stride, red, green, blue, out, height, width);
}
KERNEL(256) compose_over_bytes(const byte* front, long long front_stride, const byte* alpha, long long alpha_stride,
                               const byte* back, long long back_stride, int red, int green, int blue, byte* out,
                               int height, int width) {
  over(front, front_stride, alpha, alpha_stride, back, back_stride, red, green, blue, out, height, width);
}
