//! What the computing guests do: so many rounds, which take the same on any day.

/// A round is a step of xorshift64 that nothing can be made of beforehand.
pub fn compute(rounds: u64) -> u64 {
    let mut state = 0x9E37_79B9_7F4A_7C15;
    for _ in 0..rounds {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state = std::hint::black_box(state);
    }
    state
}
