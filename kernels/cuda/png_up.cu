// PNG's Up filter for all rows at once (Portable Network Graphics, Third Edition, section 9.2, filter type 2).
#include "prelude.cuh"

// in: rows of `length` bytes, `stride` apart. out: (height, 1 + length), each row behind its type byte. A thread makes
// four bytes of the output in a row, whichever rows they are of, and writes them at once.
KERNEL(256) png_up_rows(const byte* in, long long stride, byte* out, int height, int length) {
  const long long total = (long long)height * (length + 1), at = 4 * ((long long)blockIdx.x * blockDim.x + threadIdx.x);
  if (at >= total) return;
  int y = (int)(at / (length + 1)), x = (int)(at % (length + 1));
  byte made[4] = {0, 0, 0, 0};
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    if (at + k < total) {
      const byte* row = row_of(in, stride, y);
      if (x == 0) made[k] = 2;
      else made[k] = (byte)(row[x - 1] - (y > 0 ? row_of(in, stride, y - 1)[x - 1] : 0));
    }
    if (++x > length) {
      x = 0;
      ++y;
    }
  }
  if (at + 4 <= total) {
    *reinterpret_cast<uchar4*>(out + at) = uchar4{made[0], made[1], made[2], made[3]};
  } else {
#pragma unroll
    for (int k = 0; k < 3; ++k)
      if (at + k < total) out[at + k] = made[k];
  }
}
