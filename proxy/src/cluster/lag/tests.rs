use proptest::prelude::*;

use super::*;

fn positions(samples: &[(u64, Lsn)]) -> Positions {
    let mut positions = Positions::default();
    for (asked_at, lsn) in samples {
        positions.sample(*asked_at, *lsn);
    }
    positions
}

#[test]
fn a_replica_is_as_fresh_as_the_newest_sample_that_it_has_replayed() {
    let positions = positions(&[(10, 100), (20, 200), (30, 300)]);
    for (replayed, time) in [(0, 0), (99, 0), (100, 10), (199, 10), (250, 20), (999, 30)] {
        assert_eq!(positions.proof(replayed), time, "replayed {replayed}");
    }
}

#[test]
fn an_idle_primary_proves_more_with_every_look() {
    let mut positions = positions(&[(10, 100), (20, 100)]);
    assert_eq!(positions.proof(100), 20);
    positions.sample(5_000, 100);
    assert_eq!(positions.proof(100), 5_000);
    assert_eq!(positions.samples.len(), 1);
}

#[test]
fn a_sample_that_arrives_late_changes_nothing() {
    let positions = positions(&[(10, 100), (20, 200), (15, 150)]);
    assert_eq!(positions.proof(150), 10);
}

#[test]
fn samples_of_before_a_crash_prove_nothing_of_what_was_written_after_it() {
    let positions = positions(&[(10, 100), (20, 200), (30, 150)]);
    assert_eq!(positions.proof(100), clock::NEVER);
    assert_eq!(positions.proof(150), 30);
}

#[test]
fn nothing_is_proven_and_no_lag_is_known_without_a_sample() {
    let mut positions = positions(&[(10, 100)]);
    positions.clear();
    assert_eq!(positions.proof(u64::MAX), clock::NEVER);
    assert_eq!(positions.lag(0), None);
}

#[test]
fn lag_is_counted_in_bytes_and_never_negative() {
    let positions = positions(&[(10, 100)]);
    assert_eq!(positions.lag(40), Some(60));
    assert_eq!(positions.lag(140), Some(0));
}

#[test]
fn a_replica_far_behind_still_finds_a_sample_after_hours() {
    let mut positions = Positions::default();
    for tick in 1..=100_000 {
        positions.sample(tick, tick * 10);
    }
    assert!(positions.samples.len() <= CAPACITY);
    for behind in [1, 10, 1_000, 50_000, 99_000] {
        let replayed = 100_000 - behind;
        let proof = positions.proof(replayed * 10);
        assert!(proof <= replayed, "{proof} for {replayed}");
        let coarse = 2 * (behind / SAMPLES_PER_AGE + 1) + 20;
        assert!(proof + coarse >= replayed, "{proof} for {replayed}");
    }
}

#[test]
fn a_position_behind_a_page_header_is_the_end_of_the_page_before() {
    let table = [
        (0x0400_0028, 0x0400_0000),
        (0x0400_2018, 0x0400_2000),
        (0x0400_2000, 0x0400_2000),
        (0x0400_2030, 0x0400_2030),
        (0x0400_0060, 0x0400_0060),
    ];
    for (insert, replayed) in table {
        assert_eq!(normalised(insert, 8192), replayed, "{insert:x}");
    }
    assert_eq!(
        normalised(0x2018, 16_384),
        0x2018,
        "in the middle of a bigger page"
    );
    assert_eq!(
        normalised(0x2018, 0),
        0x2018,
        "a page size that is not known"
    );
}

#[test]
fn a_position_is_read_from_its_text() {
    assert_eq!(parse_lsn("16/B374D848"), Some(0x16_B374_D848));
    assert_eq!(parse_lsn("0/0"), Some(0));
    assert_eq!(parse_lsn("FFFFFFFF/FFFFFFFF"), Some(u64::MAX));
    for odd in [
        "",
        "16",
        "16/",
        "/1",
        "1/100000000",
        "x/1",
        "1/2/3",
        "16B374D848",
    ] {
        assert_eq!(parse_lsn(odd), None, "{odd}");
    }
}

proptest! {
    /// The model: the WAL only grows; a write that ended before a sample was asked for lies below
    /// the sampled position. Then a proof later than the write implies that it was replayed.
    #[test]
    fn a_proof_never_promises_a_write_that_was_not_replayed(
        growth in prop::collection::vec(0u64..50, 1..700),
        write in 0usize..700,
        replayed in 0u64..20_000,
    ) {
        let mut positions = Positions::default();
        let mut lsn = 0;
        let mut written = None;
        for (tick, bytes) in (1u64..).zip(&growth) {
            positions.sample(tick * 10, lsn);
            lsn += bytes;
            if tick == write as u64 {
                written = Some((tick * 10 + 5, lsn));
            }
        }
        if let Some((at, end)) = written && positions.proof(replayed) > at {
            prop_assert!(replayed >= end);
        }
    }
}
