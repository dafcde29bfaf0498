// Runs CUDA kernels on one CPU core, so that they can be tested where there is no GPU. Correctness only, never speed.
//
// Every CUDA thread of a block is a fiber: a stack of its own and a saved stack pointer. A thread runs until it ends or
// waits at a barrier (__syncthreads, __syncwarp, a shuffle, a vote); then another one runs. Blocks run one after
// another. The order of the threads is forward, reverse or random by seed: a kernel whose result depends on it lacks a
// barrier. Shared memory is filled with rubbish before each block, so that nothing can live on what the last one left.
//
// Not modelled: threads that run at the same instant (so a race between two plain writes of the same value is not
// seen, and atomics are plain operations), memory fences, caches, textures, streams.
//
// For one translation unit per library, and one launch at a time: all state is static.
#pragma once
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

// ---- the words of the language ----

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)
// In a section of its own, so that it can be found and filled with rubbish.
#define __shared__ static __attribute__((section("cuda_shared")))

struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x, y, z; };
struct uchar4 { unsigned char x, y, z, w; };
struct alignas(8) int2 { int x, y; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(8) float2 { float x, y; };
struct float3 { float x, y, z; };
struct alignas(16) float4 { float x, y, z, w; };

// ---- fibers ----

namespace on_cpu {

constexpr unsigned kMaxThreads = 1024;      // a block, as on every GPU
constexpr unsigned kWarp = 32;
constexpr size_t kMaxShared = 48 * 1024;    // dynamic, without asking for more
constexpr size_t kStack = 128 * 1024;       // a fiber; below it lies a page that may not be touched

enum class Wait { nothing, block, warp };
enum Order { forward = 0, reverse = 1, shuffled = 2 };

struct Fiber {
  char* stack = nullptr;
#if defined(__x86_64__)
  void* saved = nullptr;
#else
  ucontext_t saved;
#endif
  void* fake_stack = nullptr;  // AddressSanitizer's
};

struct Thread {
  uint3 index;
  unsigned warp, lane;
  Fiber* fiber;     // while it has begun and not ended
  Wait wait;
  unsigned mask;    // whom it waits for at a warp's barrier
  bool done;
};

struct Warp {
  unsigned live;     // bits of the lanes that have not ended
  unsigned arrived;  // bits of those that wait at a warp's barrier
  uint64_t slot[kWarp];
};

struct State {
  dim3 grid, block;
  uint3 block_index;
  uint3 thread_index;
  Thread* current = nullptr;
  void (*body)(void*) = nullptr;
  void* arguments = nullptr;
  Thread threads[kMaxThreads];
  Warp warps[kMaxThreads / kWarp];
  unsigned count = 0, live = 0, at_barrier = 0;
  Fiber fibers[kMaxThreads];
  Fiber* idle[kMaxThreads];
  unsigned idle_count = 0, made = 0;
  Fiber scheduler;
  const void* scheduler_stack = nullptr;  // AddressSanitizer's
  size_t scheduler_stack_size = 0;
  char* dynamic_shared = nullptr;
  uint64_t random = 1;
  char error[256] = {0};
};

static State state;

static inline void fail(const char* text) {
  if (!state.error[0]) snprintf(state.error, sizeof state.error, "%s", text);
}

static inline unsigned random_below(unsigned n) {  // xorshift64*, Vigna 2016
  uint64_t& x = state.random;
  x ^= x >> 12; x ^= x << 25; x ^= x >> 27;
  return (unsigned)(((x * 0x2545F4914F6CDD1DULL) >> 32) * n >> 32);
}

#if defined(__x86_64__)
// Pushes what a callee must keep, swaps the stack pointers, pops, returns into the other fiber.
extern "C" void on_cpu_switch(void** from, void* to);
asm(R"(.text
.globl on_cpu_switch
.hidden on_cpu_switch
.type on_cpu_switch,@function
on_cpu_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size on_cpu_switch, .-on_cpu_switch
)");
static inline void jump(Fiber& from, Fiber& to) { on_cpu_switch(&from.saved, to.saved); }
#else
static inline void jump(Fiber& from, Fiber& to) { swapcontext(&from.saved, &to.saved); }
#endif

// `ended`: the fiber that is left will not be resumed where it is, so AddressSanitizer may forget its frames.
static inline void to_scheduler(Fiber& from, bool ended) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(ended ? nullptr : &from.fake_stack, state.scheduler_stack, state.scheduler_stack_size);
#endif
  (void)ended;
  jump(from, state.scheduler);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(from.fake_stack, &state.scheduler_stack, &state.scheduler_stack_size);
#endif
}

static inline void to_fiber(Fiber& to) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&state.scheduler.fake_stack, to.stack, kStack);
#endif
  jump(state.scheduler, to);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(state.scheduler.fake_stack, nullptr, nullptr);
#endif
}

static __attribute__((noinline)) void fiber_main() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &state.scheduler_stack, &state.scheduler_stack_size);
#endif
  Thread* me = state.current;
  state.body(state.arguments);
  me->done = true;
  to_scheduler(*me->fiber, true);
  abort();  // nobody resumes a fiber that has ended
}

static inline bool prepare(Fiber& fiber) {
  if (!fiber.stack) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void* memory = mmap(nullptr, kStack + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return false;
    mprotect(memory, page, PROT_NONE);
    fiber.stack = (char*)memory + page;
  }
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(fiber.stack, kStack);
#endif
#if defined(__x86_64__)
  void** top = (void**)(fiber.stack + kStack - 64);
  *--top = nullptr;  // where a return address would be: keeps the alignment that the ABI asks for
  *--top = (void*)fiber_main;
  for (int saved_register = 0; saved_register < 6; ++saved_register) *--top = nullptr;
  fiber.saved = top;
#else
  getcontext(&fiber.saved);
  fiber.saved.uc_stack.ss_sp = fiber.stack;
  fiber.saved.uc_stack.ss_size = kStack;
  fiber.saved.uc_link = nullptr;
  makecontext(&fiber.saved, fiber_main, 0);
#endif
  return true;
}

// ---- barriers ----

// Both are let go when everybody who still runs has come: threads that have returned count as arrived (sm_70 and later).
static inline void release_block() {
  if (!state.at_barrier || state.at_barrier != state.live) return;
  state.at_barrier = 0;
  for (unsigned i = 0; i < state.count; ++i)
    if (state.threads[i].wait == Wait::block) state.threads[i].wait = Wait::nothing;
}

static inline void release_warp(unsigned number) {
  Warp& warp = state.warps[number];
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    if (!(warp.arrived >> lane & 1)) continue;
    unsigned mask = state.threads[number * kWarp + lane].mask;
    if ((mask & warp.live) & ~warp.arrived) continue;
    for (unsigned other = 0; other < kWarp; ++other) {
      Thread& thread = state.threads[number * kWarp + other];
      if (!(warp.arrived >> other & 1) || thread.mask != mask) continue;
      thread.wait = Wait::nothing;
      warp.arrived &= ~(1u << other);
    }
  }
}

static inline void block_barrier() {
  Thread& me = *state.current;
  me.wait = Wait::block;
  ++state.at_barrier;
  release_block();
  to_scheduler(*me.fiber, false);
}

static inline void warp_barrier(unsigned mask) {
  Thread& me = *state.current;
  if (!(mask >> me.lane & 1)) fail("a lane called a warp's function with a mask that leaves itself out");
  me.wait = Wait::warp;
  me.mask = mask;
  state.warps[me.warp].arrived |= 1u << me.lane;
  release_warp(me.warp);
  to_scheduler(*me.fiber, false);
}

// The value that lane `source` brings to the same call.
template <class T>
static inline T exchange(unsigned mask, T value, unsigned source) {
  static_assert(sizeof(T) <= sizeof(uint64_t), "a shuffle moves at most 8 bytes");
  Thread& me = *state.current;
  Warp& warp = state.warps[me.warp];
  memcpy(&warp.slot[me.lane], &value, sizeof value);
  warp_barrier(mask);
  T result;
  memcpy(&result, &warp.slot[source % kWarp], sizeof result);
  warp_barrier(mask);
  return result;
}

static inline unsigned vote(unsigned mask, int predicate) {
  Thread& me = *state.current;
  Warp& warp = state.warps[me.warp];
  warp.slot[me.lane] = predicate != 0;
  unsigned live = warp.live & mask;
  warp_barrier(mask);
  unsigned bits = 0;
  for (unsigned lane = 0; lane < kWarp; ++lane)
    if ((live >> lane & 1) && warp.slot[lane]) bits |= 1u << lane;
  warp_barrier(mask);
  return bits;
}

// ---- blocks and launches ----

extern "C" char __start_cuda_shared[] __attribute__((weak, visibility("hidden")));
extern "C" char __stop_cuda_shared[] __attribute__((weak, visibility("hidden")));

// Not instrumented: it also writes what lies between the variables, which AddressSanitizer guards.
__attribute__((no_sanitize_address, optimize("no-tree-loop-distribute-patterns"))) static void spoil_shared(size_t dynamic) {
#if !defined(__SANITIZE_ADDRESS__)
  for (volatile char* p = __start_cuda_shared; p < __stop_cuda_shared; ++p) *p = (char)0xA5;
#endif
  for (size_t i = 0; i < dynamic; ++i) ((volatile char*)state.dynamic_shared)[i] = (char)0xA5;
}

static inline void begin_block() {
  state.live = state.count;
  state.at_barrier = 0;
  state.made = state.made < state.count ? state.count : state.made;
  state.idle_count = 0;
  for (unsigned i = state.count; i-- > 0;) state.idle[state.idle_count++] = &state.fibers[i];
  unsigned columns = state.block.x, rows = state.block.y;
  for (unsigned i = 0; i < state.count; ++i)
    state.threads[i] = Thread{{i % columns, i / columns % rows, i / (columns * rows)}, i / kWarp, i % kWarp,
                              nullptr, Wait::nothing, 0, false};
  for (unsigned w = 0; w * kWarp < state.count; ++w) {
    unsigned lanes = state.count - w * kWarp;
    state.warps[w].live = lanes >= kWarp ? ~0u : (1u << lanes) - 1;
    state.warps[w].arrived = 0;
    memset(state.warps[w].slot, 0xA5, sizeof state.warps[w].slot);
  }
}

static inline void resume(Thread& thread) {
  if (!thread.fiber) {
    thread.fiber = state.idle[--state.idle_count];  // the one that ended last: its stack is in the cache
    if (!prepare(*thread.fiber)) { fail("no memory for the stack of a thread"); return; }
  }
  state.current = &thread;
  state.thread_index = thread.index;
  to_fiber(*thread.fiber);
  if (!thread.done) return;
  state.idle[state.idle_count++] = thread.fiber;
  thread.fiber = nullptr;
  --state.live;
  state.warps[thread.warp].live &= ~(1u << thread.lane);
  release_block();
  release_warp(thread.warp);
}

// One turn for each of `count` threads that may run; false when none may.
static inline bool turn_for(const unsigned* who, unsigned count) {
  bool moved = false;
  for (unsigned i = 0; i < count && !state.error[0]; ++i) {
    Thread& thread = state.threads[who[i]];
    if (thread.done || thread.wait != Wait::nothing) continue;
    moved = true;
    resume(thread);
  }
  return moved;
}

// Forward and reverse: each warp runs as far as it can before the next one gets a turn, as a warp may on a GPU.
// Shuffled: every thread of the block gets one turn after another, in a new order each time.
static inline void run_block(Order order) {
  static unsigned who[kMaxThreads];
  begin_block();
  for (unsigned i = 0; i < state.count; ++i) who[i] = order == reverse ? state.count - 1 - i : i;
  // In reverse the last warp, which may not be full, comes first.
  const unsigned first = order == reverse && state.count % kWarp ? state.count % kWarp : kWarp;
  while (state.live && !state.error[0]) {
    bool moved = false;
    if (order == shuffled) {
      for (unsigned i = state.count; i > 1; --i) {
        unsigned j = random_below(i), swapped = who[i - 1];
        who[i - 1] = who[j];
        who[j] = swapped;
      }
      moved = turn_for(who, state.count);
    } else {
      for (unsigned begin = 0, end = first; begin < state.count; begin = end, end += kWarp) {
        if (end > state.count) end = state.count;
        while (turn_for(who + begin, end - begin)) moved = true;
      }
    }
    if (moved || state.error[0]) continue;
    unsigned waiting = 0;
    for (unsigned i = 0; i < state.count; ++i) waiting += state.threads[i].wait == Wait::warp;
    snprintf(state.error, sizeof state.error,
             "deadlock in block (%u, %u, %u): %u threads wait at __syncthreads and %u at a barrier of their warp",
             state.block_index.x, state.block_index.y, state.block_index.z, state.at_barrier, waiting);
  }
}

// The arguments are those of cuLaunchKernel. Returns 0, or 1 with the reason in cpu_error().
static inline int launch(void (*body)(void*), void* arguments, dim3 grid, dim3 block, size_t shared, int order,
                         uint64_t seed) {
  state.error[0] = 0;
  uint64_t threads = (uint64_t)block.x * block.y * block.z;
  if (!threads || threads > kMaxThreads || block.z > 64) fail("a block must have 1 to 1024 threads, and z up to 64");
  if (!grid.x || !grid.y || !grid.z || grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535)
    fail("a grid must have 1 to 2^31-1 blocks in x and 1 to 65535 in y and z");
  if (shared > kMaxShared) fail("more than 48 KiB of dynamic shared memory");
  if (state.error[0]) return 1;
  // Exactly as large as was asked for, so that AddressSanitizer sees the first byte beyond.
  free(state.dynamic_shared);
  state.dynamic_shared = nullptr;
  if (shared && posix_memalign((void**)&state.dynamic_shared, 256, shared)) fail("no memory for shared memory");
  state.grid = grid;
  state.block = block;
  state.count = (unsigned)threads;
  state.body = body;
  state.arguments = arguments;
  state.random = seed * 2 + 1;
  for (unsigned z = 0; z < grid.z && !state.error[0]; ++z)
    for (unsigned y = 0; y < grid.y && !state.error[0]; ++y)
      for (unsigned x = 0; x < grid.x && !state.error[0]; ++x) {
        state.block_index = uint3{x, y, z};
        spoil_shared(shared);
        run_block((Order)order);
      }
  return state.error[0] ? 1 : 0;
}

template <int... I> struct Indices {};
template <int N, int... I> struct Count : Count<N - 1, N - 1, I...> {};
template <int... I> struct Count<0, I...> { typedef Indices<I...> type; };

template <class... A>
struct Call {
  void (*kernel)(A...);
  void** arguments;
  template <int... I> void with(Indices<I...>) { kernel(*(A*)arguments[I]...); }
  static void run(void* call) { ((Call*)call)->with(typename Count<sizeof...(A)>::type()); }
};

template <class... A>
static inline int launch_kernel(void (*kernel)(A...), void** arguments, dim3 grid, dim3 block, size_t shared, int order,
                                uint64_t seed) {
  Call<A...> call{kernel, arguments};
  return launch(&Call<A...>::run, &call, grid, block, shared, order, seed);
}

}  // namespace on_cpu

extern "C" __attribute__((visibility("default"))) const char* cpu_error() { return on_cpu::state.error; }

// One exported function for each kernel; written by the build after the last line of the kernels.
#define CPU_ENTRY(name)                                                                                               \
  extern "C" __attribute__((visibility("default"))) int cpu_##name(                                                   \
      unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, size_t shared, void** arguments,  \
      int order, uint64_t seed) {                                                                                     \
    return on_cpu::launch_kernel(&name, arguments, dim3{gx, gy, gz}, dim3{bx, by, bz}, shared, order, seed);          \
  }

// ---- what kernels call ----

#define threadIdx (on_cpu::state.thread_index)
#define blockIdx (on_cpu::state.block_index)
#define blockDim (on_cpu::state.block)
#define gridDim (on_cpu::state.grid)
#define warpSize 32

static inline void __syncthreads() { on_cpu::block_barrier(); }
static inline void __syncwarp(unsigned mask = ~0u) { on_cpu::warp_barrier(mask); }

template <class T> static inline T __shfl_sync(unsigned mask, T value, int source) {
  return on_cpu::exchange(mask, value, (unsigned)source);
}
template <class T> static inline T __shfl_up_sync(unsigned mask, T value, unsigned by) {
  unsigned lane = on_cpu::state.current->lane;
  return on_cpu::exchange(mask, value, lane >= by ? lane - by : lane);
}
template <class T> static inline T __shfl_down_sync(unsigned mask, T value, unsigned by) {
  unsigned lane = on_cpu::state.current->lane;
  return on_cpu::exchange(mask, value, lane + by < 32 ? lane + by : lane);
}
template <class T> static inline T __shfl_xor_sync(unsigned mask, T value, int bits) {
  return on_cpu::exchange(mask, value, on_cpu::state.current->lane ^ (unsigned)bits);
}
static inline unsigned __ballot_sync(unsigned mask, int predicate) { return on_cpu::vote(mask, predicate); }
static inline int __any_sync(unsigned mask, int predicate) { return on_cpu::vote(mask, predicate) != 0; }
template <class T> static inline T atomicAdd(T* at, T value) { T old = *at; *at = old + value; return old; }
template <class T> static inline T atomicMax(T* at, T value) { T old = *at; *at = old < value ? value : old; return old; }
template <class T> static inline T atomicMin(T* at, T value) { T old = *at; *at = value < old ? value : old; return old; }
template <class T> static inline T atomicOr(T* at, T value) { T old = *at; *at = old | value; return old; }

template <class T> static inline T __ldg(const T* at) { return *at; }
static inline int min(int a, int b) { return b < a ? b : a; }
static inline int max(int a, int b) { return a < b ? b : a; }
static inline float __saturatef(float x) { return x > 0 ? (x < 1 ? x : 1) : 0; }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __float_as_int(float x) { int bits; memcpy(&bits, &x, 4); return bits; }
static inline float __int_as_float(int bits) { float x; memcpy(&x, &bits, 4); return x; }
static inline float sinpif(float x) { return (float)sin(3.14159265358979323846 * (double)x); }
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return uint4{x, y, z, w}; }
static inline float2 make_float2(float x, float y) { return float2{x, y}; }
static inline float3 make_float3(float x, float y, float z) { return float3{x, y, z}; }

// IEEE 754 half, rounded to nearest even, as its 16 bits.
static inline unsigned short half_bits(float x) {
  _Float16 half = (_Float16)x;
  unsigned short bits;
  memcpy(&bits, &half, 2);
  return bits;
}

#define DYNAMIC_SHARED(type, name) type* name = reinterpret_cast<type*>(on_cpu::state.dynamic_shared)
