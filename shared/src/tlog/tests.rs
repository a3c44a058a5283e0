//! The vectors of Certificate Transparency's reference implementation and of the note format's, and properties against the
//! definitions of RFC 6962 as they stand there.

use alloc::{format, string::String, vec, vec::Vec};
use core::ops::Range;

use ed25519_dalek::VerifyingKey;
use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;

/// The leaves of the reference implementation's test tree, and the roots of its first n.
const LEAVES: [&str; 8] =
    ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// MTH, word for word (RFC 6962, 2.1).
fn mth(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let split = leaves.len().next_power_of_two() / 2;
            node_hash(&mth(&leaves[..split]), &mth(&leaves[split..]))
        }
    }
}

/// PATH, word for word (RFC 6962, 2.1.1).
fn path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return vec![];
    }
    let split = leaves.len().next_power_of_two() / 2;
    let (mut rest, sibling) = if index < split {
        (path(index, &leaves[..split]), mth(&leaves[split..]))
    } else {
        (path(index - split, &leaves[split..]), mth(&leaves[..split]))
    };
    rest.push(sibling);
    rest
}

/// SUBPROOF, word for word (RFC 6962, 2.1.2).
fn subproof(old: usize, leaves: &[Hash], is_old_tree: bool) -> Vec<Hash> {
    if old == leaves.len() {
        return if is_old_tree { vec![] } else { vec![mth(leaves)] };
    }
    let split = leaves.len().next_power_of_two() / 2;
    let (mut rest, other) = if old <= split {
        (subproof(old, &leaves[..split], is_old_tree), mth(&leaves[split..]))
    } else {
        (subproof(old - split, &leaves[split..], false), mth(&leaves[..split]))
    };
    rest.push(other);
    rest
}

fn leaves(count: usize) -> Vec<Hash> {
    (0..count).map(|number| leaf_hash(&number.to_be_bytes())).collect()
}

fn frontier_of(leaves: &[Hash]) -> Frontier {
    let mut frontier = Frontier::new();
    for leaf in leaves {
        frontier.push_hash(*leaf, |_, _| {});
    }
    frontier
}

/// The roots of ranges, by way of the perfect subtrees that they are made of.
fn roots(ranges: &[Range<u64>], leaves: &[Hash]) -> Vec<Hash> {
    let root = |range: &Range<u64>| {
        let perfect = perfect_subtrees(range).into_iter().map(|PerfectSubtree { height, index }| {
            let start = usize::try_from(index << height).unwrap();
            mth(&leaves[start..start + (1 << height)])
        });
        fold(&perfect.collect::<Vec<_>>())
    };
    ranges.iter().map(root).collect()
}

#[test]
fn roots_are_those_of_the_reference_implementation() {
    let mut frontier = Frontier::new();
    assert_eq!(frontier.root().as_slice(), hex(ROOTS[0]));
    for (leaf, root) in LEAVES.iter().zip(&ROOTS[1..]) {
        frontier.push(&hex(leaf));
        assert_eq!(frontier.root().as_slice(), hex(root));
    }
}

#[test]
fn proofs_are_those_of_the_reference_implementation() {
    let all: Vec<Hash> = LEAVES.iter().map(|leaf| leaf_hash(&hex(leaf))).collect();
    let expect = |hashes: &[&str]| -> Vec<Vec<u8>> { hashes.iter().map(|hash| hex(hash)).collect() };
    let got = |ranges: &[Range<u64>], size: usize| -> Vec<Vec<u8>> {
        roots(ranges, &all[..size]).iter().map(|hash| hash.to_vec()).collect()
    };
    let first = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d";
    assert_eq!(got(&inclusion_ranges(0, 1), 1), expect(&[]));
    assert_eq!(
        got(&inclusion_ranges(0, 8), 8),
        expect(&[
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ])
    );
    assert_eq!(
        got(&inclusion_ranges(2, 3), 3),
        expect(&["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"])
    );
    assert_eq!(got(&consistency_ranges(1, 1), 1), expect(&[]));
    assert_eq!(
        got(&consistency_ranges(1, 8), 8),
        expect(&[
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ])
    );
    assert_eq!(
        got(&consistency_ranges(6, 8), 8),
        expect(&[
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ])
    );
    assert_eq!(all[0].to_vec(), hex(first));
}

#[test]
fn a_leaf_cannot_pass_for_a_node() {
    let (left, right) = (leaf_hash(b"left"), leaf_hash(b"right"));
    assert_ne!(leaf_hash(&[left, right].concat()), node_hash(&left, &right));
}

#[test]
fn a_kept_frontier_goes_on_and_a_damaged_one_is_refused() {
    let all = leaves(300);
    let kept = frontier_of(&all[..200]);
    let mut again = Frontier::of(kept.size(), kept.hashes().to_vec()).unwrap();
    for leaf in &all[200..] {
        again.push_hash(*leaf, |_, _| {});
    }
    assert_eq!(again.root(), mth(&all));
    assert_eq!(Frontier::of(200, kept.hashes()[1..].to_vec()), None);
    assert_eq!(Frontier::of(0, vec![empty_root()]), None);
}

const NOTE: &str = "If you think cryptography is the answer to your problem,\n\
    then you don't know what your problem is.\n\n\
    \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
const KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

#[test]
fn a_note_of_another_implementation_verifies() {
    // From the documentation of Go's golang.org/x/mod/sumdb/note.
    let key = VerifierKey::parse(KEY).unwrap();
    let note = Note::parse(NOTE).unwrap();
    assert_eq!(note.verify([&key]), Ok(()));
    assert_eq!((format!("{key}"), format!("{note}")), (String::from(KEY), String::from(NOTE)));

    let other =
        VerifierKey::parse("EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop").unwrap();
    assert_eq!(note.verify([&other]), Err(NoteError::Unknown));
    let changed = Note::parse(&NOTE.replace("answer", "Answer")).unwrap();
    assert_eq!(changed.verify([&key]), Err(NoteError::Signature));
}

#[test]
fn what_is_no_key_is_refused() {
    for (text, error) in [
        ("", KeyError::Form),
        ("a+b", KeyError::Form),
        ("PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", KeyError::Form),
        ("+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", KeyError::Name),
        ("Peter Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", KeyError::Name),
        ("PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", KeyError::Id),
        ("PeterNeumann+c74f20a3+Ahpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", KeyError::Algorithm),
        ("PeterNeumann+c74f20a3+ARpc", KeyError::Key),
    ] {
        assert_eq!(VerifierKey::parse(text), Err(error), "{text}");
    }
    // The neutral element: any signature would fit.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let weak = VerifyingKey::from_bytes(&neutral).unwrap();
    assert_eq!(VerifierKey::new("a", Algorithm::Ed25519, weak), Err(KeyError::Key));
}

#[test]
fn what_is_no_note_is_refused() {
    for text in [
        "",
        "\n\n",
        "text\n",
        "text\n\n",
        "text\n\nnot a signature\n",
        &NOTE[..NOTE.len() - 1],
        &NOTE.replace("x08go", " x08go"),
        &NOTE.replace("nAM=", "nAN="),
        &NOTE.replace("is.", "is.\r"),
        &format!("{NOTE}\n"),
        &format!("{}\n\n{NOTE}", "a".repeat(70_000)),
    ] {
        assert_eq!(Note::parse(text), Err(NoteError::Form), "{text:?}");
    }
}

fn signer(name: &str, algorithm: Algorithm, seed: u8) -> NoteSigner {
    NoteSigner::new(name, algorithm, &Zeroizing::new([seed; 32])).unwrap()
}

#[test]
fn the_example_of_the_specification_is_a_checkpoint() {
    let note = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
        \u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n";
    let (checkpoint, read) = Checkpoint::unverified(note).unwrap();
    assert_eq!((checkpoint.origin.as_str(), checkpoint.size), ("example.com/behind-the-sofa", 20_852_163));
    assert_eq!((checkpoint.text(), format!("{read}")), (String::from(read.text()), String::from(note)));
    for (from, to) in [
        ("20852163", "020852163"),
        ("20852163", "-1"),
        ("20852163", "99999999999999999999"),
        ("Csg", "Cs"),
        ("example.com/behind-the-sofa\n2", "\n2"),
        ("q2I=\n\n", "q2I=\nmore\n\n"),
        ("q2I=\n\n", "q2J=\n\n"),
    ] {
        let changed = note.replacen(from, to, 1);
        assert!(changed == note || Checkpoint::unverified(&changed).is_err(), "{changed}");
    }
}

#[test]
fn a_checkpoint_is_believed_from_its_own_log_alone() {
    let (ours, theirs) = (signer("a.test", Algorithm::Ed25519, 1), signer("b.test", Algorithm::Ed25519, 2));
    let checkpoint = Checkpoint { origin: "a.test".into(), size: 3, root: [7; 32] };
    let keys = |signers: &[&NoteSigner]| signers.iter().map(|key| key.verifier().clone()).collect::<Vec<_>>();
    let note = checkpoint.sign(&ours);
    assert_eq!(Checkpoint::verified(&note, &keys(&[&ours])).unwrap().0, checkpoint);
    assert_eq!(Checkpoint::verified(&note, &keys(&[&theirs])).unwrap_err(), CheckpointError::Origin);
    // Signed by another log's key, though it names ours.
    let foreign = checkpoint.sign(&theirs);
    assert!(Checkpoint::verified(&foreign, &keys(&[&ours, &theirs])).is_err());
    // A new key of the same log.
    let renewed = signer("a.test", Algorithm::Ed25519, 3);
    let error = Checkpoint::verified(&checkpoint.sign(&renewed), &keys(&[&ours])).unwrap_err();
    assert_eq!(error, CheckpointError::Note(NoteError::Unknown));
    assert!(Checkpoint::verified(&checkpoint.sign(&renewed), &keys(&[&ours, &renewed])).is_ok());
}

#[test]
fn a_cosignature_is_of_its_witness_time_and_checkpoint() {
    let (log, witness) =
        (signer("a.test", Algorithm::Ed25519, 1), signer("w.test/1", Algorithm::CosignatureV1, 2));
    let checkpoint = Checkpoint { origin: "a.test".into(), size: 3, root: [7; 32] };
    let note = checkpoint.sign(&log);
    let line = cosign(&witness, 1_700_000_000, &checkpoint.text());
    let cosigned = Note::parse(&format!("{note}{line}")).unwrap();
    assert_eq!(verify_cosignature(&cosigned, witness.verifier()), Ok(1_700_000_000));
    assert_eq!(cosigned.verify([log.verifier()]), Ok(()), "the log's own signature stays");
    assert_eq!(
        cosigned.verify([witness.verifier()]),
        Err(NoteError::Unknown),
        "it is no signature of the log"
    );
    assert_eq!(verify_cosignature(&Note::parse(&note).unwrap(), witness.verifier()), Err(NoteError::Unknown));
    for at in 0..line.signature.len() {
        let mut changed = line.clone();
        changed.signature[at] ^= 1;
        let note = Note::parse(&format!("{note}{changed}")).unwrap();
        assert_eq!(verify_cosignature(&note, witness.verifier()), Err(NoteError::Signature), "byte {at}");
    }
}

#[test]
fn a_proof_stands_by_itself_and_every_changed_byte_spoils_it() {
    let log = signer("a.test", Algorithm::Ed25519, 1);
    let data: Vec<Vec<u8>> = (0_u8..11).map(|number| vec![number; 5]).collect();
    let all: Vec<Hash> = data.iter().map(|leaf| leaf_hash(leaf)).collect();
    let checkpoint = Checkpoint { origin: "a.test".into(), size: 11, root: mth(&all) };
    let keys = [log.verifier().clone()];
    let proof = ProofFile {
        leaf: data[6].clone(),
        index: 6,
        path: roots(&inclusion_ranges(6, 11), &all),
        checkpoint: checkpoint.sign(&log),
    };
    let text = format!("{proof}");
    assert_eq!(ProofFile::parse(&text).unwrap(), proof);
    assert_eq!(proof.verify(&keys).unwrap().0, checkpoint);
    let bytes = text.as_bytes();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.to_vec();
            changed[at] ^= 1 << bit;
            let Ok(changed) = String::from_utf8(changed) else { continue };
            let read = ProofFile::parse(&changed).and_then(|proof| proof.verify(&keys));
            assert!(read.is_err(), "bit {bit} of byte {at}: {changed}");
        }
    }
}

proptest! {
    #[test]
    fn the_frontier_has_the_root_of_the_definition(count in 0_usize..200) {
        let all = leaves(count);
        let frontier = frontier_of(&all);
        prop_assert_eq!(frontier.root(), mth(&all));
        prop_assert_eq!(frontier.size(), u64::try_from(count).unwrap());
        let perfect = roots(core::slice::from_ref(&(0..frontier.size())), &all);
        prop_assert_eq!(perfect, vec![mth(&all)]);
    }

    #[test]
    fn every_completed_subtree_is_told_once(count in 0_usize..200) {
        let all = leaves(count);
        let mut frontier = Frontier::new();
        let mut told = Vec::new();
        for leaf in &all {
            frontier.push_hash(*leaf, |subtree, hash| told.push((subtree, *hash)));
        }
        let expected: usize = (0..64).map(|height| count >> height).sum();
        prop_assert_eq!(told.len(), expected);
        for (PerfectSubtree { height, index }, hash) in told {
            let start = usize::try_from(index).unwrap() << height;
            prop_assert_eq!(hash, mth(&all[start..start + (1 << height)]));
        }
    }

    #[test]
    fn inclusion_is_as_defined_and_proves_that_leaf_there_only(
        (count, index) in (1_usize..130).prop_flat_map(|count| (Just(count), 0..count)),
        other in any::<prop::sample::Index>(),
    ) {
        let all = leaves(count);
        let (at, size, root) = (u64::try_from(index).unwrap(), u64::try_from(count).unwrap(), mth(&all));
        let proof = roots(&inclusion_ranges(at, size), &all);
        prop_assert_eq!(&proof, &path(index, &all));
        prop_assert_eq!(verify_inclusion(&all[index], at, size, &proof, &root), Ok(()));
        let other = other.index(count);
        if other != index {
            prop_assert!(verify_inclusion(&all[other], at, size, &proof, &root).is_err());
            prop_assert!(verify_inclusion(&all[index], u64::try_from(other).unwrap(), size, &proof, &root).is_err());
        }
        prop_assert!(verify_inclusion(&all[index], size, size, &proof, &root).is_err());
        let mut longer = proof.clone();
        longer.push([0; 32]);
        prop_assert!(verify_inclusion(&all[index], at, size, &longer, &root).is_err());
        if let Some((_, shorter)) = proof.split_last() {
            prop_assert!(verify_inclusion(&all[index], at, size, shorter, &root).is_err());
        }
    }

    #[test]
    fn consistency_is_as_defined_and_fails_for_anything_else(
        (count, old) in (1_usize..130).prop_flat_map(|count| (Just(count), 1..=count)),
        changed in any::<prop::sample::Index>(),
    ) {
        let all = leaves(count);
        let (from, size) = (u64::try_from(old).unwrap(), u64::try_from(count).unwrap());
        let (old_root, root) = (mth(&all[..old]), mth(&all));
        let proof = roots(&consistency_ranges(from, size), &all);
        prop_assert_eq!(&proof, &subproof(old, &all, true));
        prop_assert_eq!(verify_consistency(from, &old_root, size, &root, &proof), Ok(()));
        // A log whose past was changed has no proof; nor has a smaller log than the one before.
        let mut forked = all.clone();
        forked[changed.index(old)] = [0; 32];
        let fork = roots(&consistency_ranges(from, size), &forked);
        prop_assert!(verify_consistency(from, &old_root, size, &mth(&forked), &fork).is_err());
        if from < size {
            prop_assert!(verify_consistency(size, &root, from, &old_root, &proof).is_err());
            let mut longer = proof.clone();
            longer.push([0; 32]);
            prop_assert!(verify_consistency(from, &old_root, size, &root, &longer).is_err());
            prop_assert!(verify_consistency(from, &old_root, size, &root, &[]).is_err());
        }
    }

    #[test]
    fn proofs_of_enormous_trees_are_planned_without_overflow(index in any::<u64>(), size in any::<u64>()) {
        for range in inclusion_ranges(index, size).into_iter().chain(consistency_ranges(index, size)) {
            prop_assert!(range.start < range.end && range.end <= size);
            let leaves = perfect_subtrees(&range).iter().map(|subtree| 1_u128 << subtree.height).sum::<u128>();
            prop_assert_eq!(leaves, u128::from(range.end - range.start));
        }
    }

    #[test]
    fn what_is_read_is_written_again_as_it_was(text in "\\PC{0,80}(\n\\PC{0,20}){0,6}\n?") {
        if let Ok(note) = Note::parse(&text) {
            prop_assert_eq!(format!("{note}"), text.clone());
        }
        if let Ok(checkpoint) = Checkpoint::parse(&text) {
            prop_assert_eq!(checkpoint.text(), text.clone());
        }
        if let Ok(proof) = ProofFile::parse(&text) {
            prop_assert_eq!(format!("{proof}"), text);
        }
    }
}
