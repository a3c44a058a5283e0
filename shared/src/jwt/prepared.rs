//! Ed25519 keys that verify often (RFC 8032 §5.1.7): multiples of the key's point are kept, so that a verification has 18 doublings'
//! worth of work instead of 253. It may not judge otherwise than the library does, only sooner; and it may not touch a private key,
//! for its time depends on what it reads.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "a group's operations have no overflow, and what is counted here is bounded by constants"
)]

use alloc::vec::Vec;
use core::{array, cmp::Ordering, fmt};

use curve25519_dalek::{
    constants::ED25519_BASEPOINT_POINT, edwards::EdwardsPoint, scalar::Scalar, traits::Identity as _,
};
use ed25519_dalek::{SIGNATURE_LENGTH, VerifyingKey};
use sha2::{Digest as _, Sha512};

/// Bits of a scalar's digit.
const WIDTH: usize = 6;
/// How many digits a scalar has.
const DIGITS: usize = 256_usize.div_ceil(WIDTH);
/// Digits are in -HALF..=HALF: so many multiples are kept of a point for each block.
const HALF: usize = 1 << (WIDTH - 1);
/// Digits that share a block: a block fewer costs a doubling more for each bit.
const STRIDE: usize = 2;

/// How often a key must have verified before it is prepared: preparing costs as much as five verifications, and saves half of each.
const BEFORE: u8 = 16;
/// How many keys are prepared at a time: those of one issuer, while they change, and of a few others. Each takes 110 kB.
const KEYS: usize = 4;

/// A point's multiples: in each block 1, 2 … `HALF` times the point times 2^(WIDTH · STRIDE · block).
struct Multiples(Vec<[EdwardsPoint; HALF]>);

/// A scalar's digits, the least one first: each in -HALF..=HALF.
type Digits = [i8; DIGITS];

/// A key with what is kept of it.
struct Prepared {
    key: [u8; 32],
    /// Of the key's negated point.
    multiples: Multiples,
}

/// Which keys verify how often, and those that are prepared.
#[derive(Default)]
pub struct PreparedKeys {
    /// Of the base point; made with the first key.
    base: Option<Multiples>,
    prepared: Vec<Prepared>,
    /// Keys that are not prepared, and how often each has verified.
    counted: Vec<([u8; 32], u8)>,
}

impl PreparedKeys {
    /// Whether `signature` is `key`'s over `message`; `key` must be no weak one.
    pub fn verify(&mut self, key: &VerifyingKey, message: &[u8], signature: &[u8]) -> bool {
        let Ok(signature) = <&[u8; SIGNATURE_LENGTH]>::try_from(signature) else { return false };
        self.note(key);
        let prepared = self.prepared.iter().find(|prepared| prepared.key == *key.as_bytes());
        match (&self.base, prepared) {
            (Some(base), Some(prepared)) => prepared.verify(base, message, signature),
            _ => ed25519_dalek::Verifier::verify(
                key,
                message,
                &ed25519_dalek::Signature::from_bytes(signature),
            )
            .is_ok(),
        }
    }

    /// Counts a use of a key, and prepares it when it is worth it.
    fn note(&mut self, key: &VerifyingKey) {
        if self.prepared.iter().any(|prepared| prepared.key == *key.as_bytes()) {
            return;
        }
        let place = self.counted.iter().position(|(counted, _)| counted == key.as_bytes());
        let uses = place.map_or(0, |place| self.counted.swap_remove(place).1).saturating_add(1);
        if uses < BEFORE {
            // The one that was counted longest ago makes place.
            if self.counted.len() >= KEYS {
                self.counted.remove(0);
            }
            self.counted.push((*key.as_bytes(), uses));
            return;
        }
        if self.prepared.len() >= KEYS {
            self.prepared.remove(0);
        }
        self.base.get_or_insert_with(|| Multiples::of(ED25519_BASEPOINT_POINT));
        self.prepared.push(Prepared { key: *key.as_bytes(), multiples: Multiples::of(-key.to_edwards()) });
    }
}

impl Prepared {
    /// RFC 8032 §5.1.7 without cofactors, as the library has it: R must be the encoding of \[S\]B - \[k\]A, and S below the group's
    /// order.
    fn verify(&self, base: &Multiples, message: &[u8], signature: &[u8; SIGNATURE_LENGTH]) -> bool {
        let (r, s) = signature.split_at(32);
        let Some(s) = s.try_into().ok().and_then(|s| Option::<Scalar>::from(Scalar::from_canonical_bytes(s)))
        else {
            return false;
        };
        let hash = Sha512::new().chain_update(r).chain_update(self.key).chain_update(message).finalize();
        let k = Scalar::from_bytes_mod_order_wide(&hash.into());
        let sum = sum([(base, &digits(&s)), (&self.multiples, &digits(&k))]);
        sum.compress().as_bytes().as_slice() == r
    }
}

impl Multiples {
    fn of(point: EdwardsPoint) -> Self {
        let mut first = point;
        let blocks = (0..DIGITS.div_ceil(STRIDE)).map(|_| {
            let mut multiple = EdwardsPoint::identity();
            let block = array::from_fn(|_| {
                multiple += first;
                multiple
            });
            for _ in 0..WIDTH * STRIDE {
                first += first;
            }
            block
        });
        Self(blocks.collect())
    }
}

/// The sum of each point times its scalar. In a time that tells the scalars: they are public.
fn sum(terms: [(&Multiples, &Digits); 2]) -> EdwardsPoint {
    let mut sum = EdwardsPoint::identity();
    for offset in (0..STRIDE).rev() {
        if offset + 1 < STRIDE {
            for _ in 0..WIDTH {
                sum += sum;
            }
        }
        for (Multiples(blocks), digits) in terms {
            for (block, digit) in blocks.iter().zip(digits.iter().skip(offset).step_by(STRIDE)) {
                let multiple = block.get(usize::from(digit.unsigned_abs()).wrapping_sub(1));
                match (digit.cmp(&0), multiple) {
                    (Ordering::Greater, Some(multiple)) => sum += multiple,
                    (Ordering::Less, Some(multiple)) => sum -= multiple,
                    _ => {}
                }
            }
        }
    }
    sum
}

/// A scalar in digits to the base 2^WIDTH. It is below 2^253, so that nothing is carried out of the last.
fn digits(scalar: &Scalar) -> Digits {
    let bytes = scalar.as_bytes();
    let byte = |index: usize| bytes.get(index).map_or(0, |byte| u32::from(*byte));
    let mut carry = 0;
    array::from_fn(|index| {
        let bit = index * WIDTH;
        let bits = (byte(bit / 8) | byte(bit / 8 + 1) << 8) >> (bit % 8);
        let digit = (bits & ((1 << WIDTH) - 1)) + carry;
        let digit = i8::try_from(digit).unwrap_or_default();
        carry = u32::from(usize::from(digit.unsigned_abs()) > HALF);
        if carry == 1 { digit.wrapping_sub(1 << WIDTH) } else { digit }
    })
}

impl fmt::Debug for PreparedKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PreparedKeys({} prepared)", self.prepared.len())
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use ed25519_dalek::{Signature, Signer as _, SigningKey, Verifier as _};
    use proptest::prelude::*;

    use super::*;

    /// Keys of which this one is prepared already.
    fn prepared(key: &VerifyingKey) -> PreparedKeys {
        let mut keys = PreparedKeys::default();
        for _ in 0..BEFORE {
            keys.note(key);
        }
        assert_eq!(keys.prepared.len(), 1);
        keys
    }

    #[test]
    fn multiples_add_up_to_the_product() {
        let base = Multiples::of(ED25519_BASEPOINT_POINT);
        let mut scalars =
            vec![Scalar::ZERO, Scalar::ONE, -Scalar::ONE, Scalar::from(32_u8), Scalar::from(33_u8)];
        scalars
            .extend((0..40_u64).map(|number| Scalar::from(number).invert() * Scalar::from(0xffff_ffff_u64)));
        for scalar in &scalars {
            let product = sum([(&base, &digits(scalar)), (&base, &digits(&Scalar::ZERO))]);
            assert_eq!(product, ED25519_BASEPOINT_POINT * scalar, "{scalar:?}");
        }
    }

    #[test]
    fn rfc_8032_vectors_verify_before_and_after_a_key_is_prepared() {
        // §7.1, tests 1 to 3: secret, message, signature.
        let vectors = [
            (
                "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
                "",
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
            ),
            (
                "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
                "72",
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
            ),
            (
                "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
                "af82",
                "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
            ),
        ];
        let bytes = |hex: &str| -> Vec<u8> {
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
        };
        for (secret, message, signature) in vectors {
            let key = SigningKey::from_bytes(&bytes(secret).try_into().unwrap()).verifying_key();
            let mut keys = PreparedKeys::default();
            for _ in 0..BEFORE * 2 {
                assert!(keys.verify(&key, &bytes(message), &bytes(signature)));
                assert!(!keys.verify(&key, b"another", &bytes(signature)));
            }
            assert_eq!(keys.prepared.len(), 1);
        }
    }

    #[test]
    fn what_the_library_refuses_at_the_edges_is_refused() {
        let signing = SigningKey::from_bytes(&[7; 32]);
        let key = signing.verifying_key();
        let mut keys = prepared(&key);
        let good = signing.sign(b"message").to_bytes();
        let (r, s) = good.split_at(32);
        // The group's order, which makes a second form of every S (RFC 8032 §5.1.7 forbids it).
        let order: [u8; 32] = (-Scalar::ONE).to_bytes();
        let mut carry = 1_u16;
        let above: Vec<u8> = s
            .iter()
            .zip(order)
            .map(|(one, other)| {
                carry += u16::from(*one) + u16::from(other);
                let byte = carry.to_le_bytes()[0];
                carry >>= 8;
                byte
            })
            .collect();
        let identity: [u8; 32] = EdwardsPoint::identity().compress().to_bytes();
        // y = 1 written as 1 + p: the identity, not in its one encoding.
        let mut other_identity = [0xff; 32];
        (other_identity[0], other_identity[31]) = (0xee, 0x7f);
        let cases = [
            [r, &above].concat(),
            [r, &[0xff; 32]].concat(),
            [r, &[0; 32]].concat(),
            [identity, [0; 32]].concat(),
            [other_identity, [0; 32]].concat(),
            [[0; 32], [0; 32]].concat(),
            [s, r].concat(),
        ];
        for case in cases {
            let signature: [u8; 64] = case.clone().try_into().unwrap();
            let expected = key.verify(b"message", &Signature::from_bytes(&signature)).is_ok();
            assert!(!expected);
            assert_eq!(keys.verify(&key, b"message", &case), expected, "{case:?}");
        }
        for length in [0, 63, 65] {
            assert!(!keys.verify(&key, b"message", &vec![0; length]));
        }
        assert!(keys.verify(&key, b"message", &good));
    }

    #[test]
    fn few_keys_are_kept_and_each_judges_only_its_own() {
        let mut keys = PreparedKeys::default();
        let signing: Vec<SigningKey> = (1..=9).map(|seed| SigningKey::from_bytes(&[seed; 32])).collect();
        for one in &signing {
            let signature = one.sign(b"m").to_bytes();
            for _ in 0..=BEFORE {
                assert!(keys.verify(&one.verifying_key(), b"m", &signature));
            }
            for other in &signing {
                let is_same = other.as_bytes() == one.as_bytes();
                assert_eq!(keys.verify(&other.verifying_key(), b"m", &signature), is_same);
            }
            assert!(keys.prepared.len() <= KEYS && keys.counted.len() <= KEYS);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_library_and_a_prepared_key_agree(
            seed in any::<[u8; 32]>(),
            message in prop::collection::vec(any::<u8>(), 0..300),
            at in 0_usize..64,
            flip in 0_u8..8,
            noise in any::<[u8; 64]>(),
        ) {
            let signing = SigningKey::from_bytes(&seed);
            let key = signing.verifying_key();
            let mut keys = prepared(&key);
            let good = signing.sign(&message).to_bytes();
            let mut damaged = good;
            damaged[at] ^= 1 << flip;
            for signature in [good, damaged, noise] {
                let expected = key.verify(&message, &Signature::from_bytes(&signature)).is_ok();
                prop_assert_eq!(keys.verify(&key, &message, &signature), expected);
            }
            prop_assert!(keys.verify(&key, &message, &good));
        }
    }
}
