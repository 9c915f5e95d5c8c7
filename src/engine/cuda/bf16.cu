// bf16 by the definition of `num/bf16.rs`: operands rounded, the odd product of a pair first, subnormal numbers taken
// for zero, which is what `fma.rn.ftz` does.

__device__ __forceinline__ float bf16_round(float x) {
    u32 bits = (u32)__float_as_int(x);
    u32 kept = absolute(x) < 1.17549435e-38f ? 0x80000000u : 0xffffffffu;
    bits &= kept;
    u32 nearest = bits + (0x7fffu + (bits >> 16 & 1u));
    u32 rounded = is_nan(x) ? bits | 1u << 22 : nearest;
    return __int_as_float((int)(rounded & 0xffff0000u));
}

// acc plus the products of two pairs of rounded numbers.
__device__ __forceinline__ float bf16_step(float a_even, float a_odd, float b_even, float b_odd, float acc) {
    return fma_ftz(a_even, b_even, fma_ftz(a_odd, b_odd, acc));
}
