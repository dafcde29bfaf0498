// Pillow's Lanczos resize (3 lobes, antialiased) in two passes on the means of small blocks, as the NumPy version has
// it with its roundings to whole grey levels, and the normalisation of planes of bytes.
#include "jobs.cuh"
#include "resample.cuh"

const int kTaps = 20;  // at most: the blocks leave a reduction below 3, so 2 * 3 * 3 + 1

__device__ __forceinline__ float lanczos(float x) {
  if (x <= -3.f || x >= 3.f) return 0.f;
  if (fabsf(x) < 1e-6f) return 1.f;
  const float pi_x = 3.14159265358979f * x;
  return sinpif(x) / pi_x * (sinpif(x / 3.f) * 3.f) / pi_x;
}

// weights: (jobs, 2, longest, kTaps), firsts and counts: (jobs, 2, longest); axis 0 is down, 1 across.
KERNEL(128) lanczos_taps(const ResizeJob* jobs, float* weights, int* firsts, int* counts, int longest) {
  const int o = blockIdx.x * blockDim.x + threadIdx.x, axis = blockIdx.y;
  const ResizeJob job = jobs[blockIdx.z];
  const int out = axis ? job.out_width : job.out_height;
  if (o >= out) return;
  const int length = axis ? job.width : job.height, step = axis ? job.step_x : job.step_y;
  const int in = (length + step - 1) / step;  // blocks, the last of which may hang over the frame
  const double scale = (double)length / step / out, wide = scale < 1.0 ? 1.0 : scale, centre = (o + 0.5) * scale;
  const int first = max(0, (int)(centre - 3.0 * wide + 0.5));
  const int count = min(min(in, (int)(centre + 3.0 * wide + 0.5)) - first, kTaps);
  const long long entry = ((long long)blockIdx.z * 2 + axis) * longest + o;
  float* weight = weights + entry * kTaps;
  float total = 0.f;
  for (int k = 0; k < count; ++k) {
    weight[k] = lanczos((float)((k + first - centre + 0.5) / wide));
    total += weight[k];
  }
  for (int k = 0; k < count; ++k) weight[k] /= total;
  firsts[entry] = first;
  counts[entry] = count;
}

// Means of blocks of step_y * step_x pixels, into planes of bytes; the frame's last pixels are repeated.
KERNEL(256) lanczos_blocks(const ResizeJob* jobs, byte* blocks) {
  const ResizeJob job = jobs[blockIdx.z];
  const int height = (job.height + job.step_y - 1) / job.step_y, width = (job.width + job.step_x - 1) / job.step_x;
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= width || y >= height) return;
  int r = 0, g = 0, b = 0;
  for (int j = 0; j < job.step_y; ++j) {
    const byte* row = row_of(job.source, job.stride, min(y * job.step_y + j, job.height - 1));
    for (int i = 0; i < job.step_x; ++i) {
      const byte* pixel = row + min(x * job.step_x + i, job.width - 1) * 3;
      r += pixel[0];
      g += pixel[1];
      b += pixel[2];
    }
  }
  const int area = job.step_y * job.step_x;
  const float share = 1.f / (float)area;
  const long long plane = (long long)height * width;
  byte* at = blocks + job.blocks_at + (long long)y * width + x;
  const bool two_by_two = job.step_y == 2 && job.step_x == 2;
  at[0] = mean_byte((float)r * share, two_by_two);
  at[plane] = mean_byte((float)g * share, two_by_two);
  at[2 * plane] = mean_byte((float)b * share, two_by_two);
}

// Pillow adds a half and cuts off.
__device__ __forceinline__ byte half_up(float x) { return (byte)fminf(fmaxf(floorf(x + 0.5f), 0.f), 255.f); }

KERNEL(256) lanczos_rows(const ResizeJob* jobs, const byte* blocks, byte* rows, const float* weights, const int* firsts,
                         const int* counts, int longest) {
  const ResizeJob job = jobs[blockIdx.z];
  const int height = (job.height + job.step_y - 1) / job.step_y, width = (job.width + job.step_x - 1) / job.step_x;
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= job.out_width || y >= height) return;
  const long long entry = ((long long)blockIdx.z * 2 + 1) * longest + x;
  const float* weight = weights + entry * kTaps;
  const int first = firsts[entry], count = counts[entry];
  for (int channel = 0; channel < 3; ++channel) {
    const byte* from = blocks + job.blocks_at + ((long long)channel * height + y) * width + first;
    float total = 0.f;
    for (int k = 0; k < count; ++k) total += weight[k] * (float)from[k];
    rows[job.rows_at + ((long long)channel * height + y) * job.out_width + x] = half_up(total);
  }
}

// out: u8 (jobs, 3, out_height, out_width). peaks: int (jobs), begins at 0, the largest byte of each.
KERNEL(256) lanczos_columns(const ResizeJob* jobs, const byte* rows, byte* out, int* peaks, const float* weights,
                            const int* firsts, const int* counts, int longest, int bgr) {
  const ResizeJob job = jobs[blockIdx.z];
  const int height = (job.height + job.step_y - 1) / job.step_y;
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  int peak = 0;
  if (x < job.out_width && y < job.out_height) {
    const long long entry = (long long)blockIdx.z * 2 * longest + y;
    const float* weight = weights + entry * kTaps;
    const int first = firsts[entry], count = counts[entry];
    const long long plane = (long long)job.out_height * job.out_width;
    for (int channel = 0; channel < 3; ++channel) {
      const byte* from = rows + job.rows_at + ((long long)channel * height + first) * job.out_width + x;
      float total = 0.f;
      for (int k = 0; k < count; ++k) total += weight[k] * (float)from[(long long)k * job.out_width];
      const byte value = half_up(total);
      peak = max(peak, (int)value);
      out[(3LL * blockIdx.z + (bgr ? 2 - channel : channel)) * plane + (long long)y * job.out_width + x] = value;
    }
  }
  peak_into(&peaks[blockIdx.z], peak);
}

__device__ __forceinline__ void store(float* at, float value) { *at = value; }
__device__ __forceinline__ void store(half_t* at, float value) { *at = half_bits(value); }

// A thread takes four pixels; blockIdx.y is the plane, channel by channel of job by job.
template <class T>
__device__ __forceinline__ void normalise(const byte* in, const int* peaks, T* out, int plane, float divisor,
                                          float mean0, float mean1, float mean2, float std0, float std1, float std2) {
  const int at = (blockIdx.x * blockDim.x + threadIdx.x) * 4, channel = blockIdx.y % 3;
  if (at >= plane) return;
  const float by = peaks ? (float)max(1, peaks[blockIdx.y / 3]) : divisor;
  const float deviation = channel == 0 ? std0 : channel == 1 ? std1 : std2;
  const float scale = 1.f / (by * deviation), shift = -(channel == 0 ? mean0 : channel == 1 ? mean1 : mean2) / deviation;
  const byte* from = in + (long long)blockIdx.y * plane + at;
  T* to = out + (long long)blockIdx.y * plane + at;
  if (plane % 4 == 0) {
    const uchar4 four = *reinterpret_cast<const uchar4*>(from);
    store(to, (float)four.x * scale + shift);
    store(to + 1, (float)four.y * scale + shift);
    store(to + 2, (float)four.z * scale + shift);
    store(to + 3, (float)four.w * scale + shift);
  } else {
    for (int k = 0; k < min(4, plane - at); ++k) store(to + k, (float)from[k] * scale + shift);
  }
}

// (in / divisor - mean) / std; peaks: divide by each job's largest byte instead, or null.
KERNEL(256) normalise_float(const byte* in, const int* peaks, float* out, int plane, float divisor, float mean0,
                            float mean1, float mean2, float std0, float std1, float std2) {
  normalise(in, peaks, out, plane, divisor, mean0, mean1, mean2, std0, std1, std2);
}
KERNEL(256) normalise_half(const byte* in, const int* peaks, half_t* out, int plane, float divisor, float mean0,
                           float mean1, float mean2, float std0, float std1, float std2) {
  normalise(in, peaks, out, plane, divisor, mean0, mean1, mean2, std0, std1, std2);
}
