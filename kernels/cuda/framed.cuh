// A picture in a frame of two pixels, so that every pixel within two of one has an index; and its pairs of pixels.
#pragma once
#include "prelude.cuh"

const int kFrame = 2;

// Of a picture `width` pixels wide; y and x count from its own corner, or, framed, from the frame's.
__device__ __forceinline__ int pitch_of(int width) { return width + 2 * kFrame; }
__device__ __forceinline__ int framed_at(int y, int x, int width) { return (y + kFrame) * pitch_of(width) + x + kFrame; }
__device__ __forceinline__ int plane_of(int height, int width) { return (height + 2 * kFrame) * pitch_of(width); }

// A pair belongs to the pixel of it that comes first. What comes after a pixel and within two of it: (0, 1), (0, 2), then
// (1, -2) to (1, 2), then (2, -2) to (2, 2). So a symmetric matrix is twelve planes and its diagonal.
const int kAfter = 12;

// From a pixel's index to the k-th of those after it.
__device__ __forceinline__ int after(int k, int pitch) {
  return k < 2 ? k + 1 : ((k - 2) / 5 + 1) * pitch + (k - 2) % 5 - 2;
}

// The k of a distance.
__device__ __forceinline__ int pair_number(int dy, int dx) { return dy == 0 ? dx - 1 : 5 * dy + dx - 1; }
