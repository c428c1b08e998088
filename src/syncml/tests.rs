//! What scans, what does not, and what edits keep.

use super::*;

#[test]
fn the_tables_name_the_tokens() {
    let name = |page, token| Vocabulary::SyncMl.name(page, token);
    assert_eq!(name(0, 0x2d), b"SyncML");
    assert_eq!(name(0, 0x3c), b"Correlator");
    assert_eq!(name(0, 0x30), b"");
    assert_eq!(name(0, 0x3f), b"");
    assert_eq!(name(1, 0x06), b"EMI");
    assert_eq!(name(2, 0x06), b"");
    assert_eq!(Vocabulary::DevInf.name(0, 0x0a), b"DevInf");
    assert_eq!(Vocabulary::DevInf.name(0, 0x25), b"VerDTD");
    assert_eq!(Vocabulary::DevInf.name(0, 0x34), b"SupportHierarchicalSync");
}
