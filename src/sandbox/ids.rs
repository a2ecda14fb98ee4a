//! Ids from a seed, so that a run can be repeated. Never for anything secret.

use uuid::Uuid;

/// A splitmix64 sequence: small, and good enough for ids nobody guesses.
#[derive(Clone, Debug)]
pub(crate) struct Ids(u64);

impl Ids {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next uuid of the sequence, written as Blip writes them.
    pub(crate) fn uuid(&mut self) -> String {
        let bits = (u128::from(self.next()) << 64) | u128::from(self.next());
        uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid().to_string()
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }
}

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

const fn mix(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number that hangs on the bytes and the seed alone. Anybody can compute it: it proves nothing.
pub(crate) fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let start = mix(seed.wrapping_add(STEP));
    bytes.iter().fold(start, |state, &byte| mix(state.wrapping_add(STEP) ^ u64::from(byte)))
}

/// A signature that is good enough between a stand-in and those who try it out.
pub(crate) fn digest(parts: &[&str]) -> String {
    format!("{:016x}", hash(0, parts.join("\n").as_bytes()))
}

/// A seed for a run that asked for none.
pub(crate) fn any_seed() -> u64 {
    let (high, low) = Uuid::new_v4().as_u64_pair();
    high ^ low
}
