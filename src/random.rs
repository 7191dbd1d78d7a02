//! Where randomness comes in.

/// A source of random bits.
pub trait Random: Send + Sync {
    /// 128 fresh random bits.
    fn bits(&self) -> u128;
}

/// The randomness of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn bits(&self) -> u128 {
        uuid::Uuid::new_v4().as_u128() ^ uuid::Uuid::new_v4().as_u128().rotate_left(64)
    }
}
