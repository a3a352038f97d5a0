//! What was elected long ago and is best still: who begins to listen to beacons alone learns whose it is.

use super::*;

/// Who is elected in window 0, and claims nothing after that.
const ELECTED: u32 = VEHICLES - 1;

/// A fleet that elects something in window 0 and nothing better until `windows`. Beacons begin and are killed in these windows; whether
/// what was elected stands where its publisher left it after the first windows.
fn learns(windows: u32, begins: &[u32], killed: &[u32], stays: bool) -> bool {
    let ring = ring();
    let mut board = Board::default();
    board.leave(documents(VEHICLES).into_iter().chain([nonce(0)]), &mut []);
    let (mut beacons, mut number) = (Vec::new(), 0);
    let mut whole = Records::new(shape());
    for window in 0..windows {
        if killed.contains(&window) {
            beacons.remove(0);
        }
        if begins.contains(&window) {
            number += 1;
            beacons.push(Program::start(number));
            board.settle(&mut beacons);
        }
        let claims = if window == 0 { ELECTED..VEHICLES } else { 0..3 };
        for number in claims {
            board.leave(claimed(number, window, Role::Best, 1_000), &mut beacons);
        }
        if window == 2 && !stays {
            let elected = key(ELECTED).public().id().to_string();
            board
                .stands
                .retain(|topic, _bytes| !topic.contains(&elected) || topic.contains("vote"));
        }
        board.read(&mut whole, &ring, window);
        board.leave([nonce(window + 1)], &mut beacons);
        board.read(&mut whole, &ring, window + 1);
        let votes = votes(&whole, &ring, window, window == 0);
        board.leave(votes, &mut beacons);
        board.read(&mut whole, &ring, window + 1);
    }
    // A header may come before the votes that make it count: then it is handed in again.
    let mut newcomer = Records::new(shape());
    for _ in 0..2 {
        board.listen(&mut newcomer, &ring, windows, |_beacon| true);
    }
    let utility = utility();
    let best = |records| reading(records, &ring, &utility, windows).best();
    let (best, known) = (best(&whole).unwrap(), best(&newcomer));
    assert_eq!((best.window, best.claimant), (0, key(ELECTED).public().id()));
    assert!(known.is_none() || known.as_ref().map(|known| known.particle) == Some(best.particle));
    known.is_some()
}

#[test]
fn a_beacon_passes_on_what_votes_are_measured_beside_for_as_long_as_they_are() {
    for windows in [3, 9, 12, 30] {
        assert!(learns(windows, &[0], &[], false), "{windows}");
    }
}

#[test]
fn one_that_begins_learns_of_it_from_those_before_it() {
    assert!(learns(30, &[0, 14], &[15], false));
}

/// Nobody passed it on: what stands on the board is read again.
#[test]
fn one_that_begins_where_none_was_asks_the_board() {
    assert!(learns(30, &[14], &[], true));
    assert!(!learns(30, &[14], &[], false), "it stands nowhere");
}
