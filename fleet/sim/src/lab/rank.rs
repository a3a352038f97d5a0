//! Nights of vehicles of a smaller rank, in the layout of the model's adapter.

use shoal_swarm::swarm::Flat;

/// What was tuned, where it is trained; elsewhere what it was tuned from.
pub(super) fn kept(tuned: &[f32], from: &[f32], trained: &[bool]) -> Flat {
    let each = tuned.iter().zip(from).zip(trained);
    each.map(|((tuned, from), trained)| if *trained { *tuned } else { *from }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_trained_stays_what_it_was() {
        assert_eq!(*kept(&[1.0, 2.0], &[3.0, 4.0], &[true, false]), [1.0, 4.0]);
    }
}
