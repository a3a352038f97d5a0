//! Why nothing was elected, in a sentence.

use shoal_swarm::quorum::Unelected;

/// What whoever runs the fleet reads beside the number of the window.
pub(crate) fn sentence(window: u32, why: Unelected) -> String {
    let next = window.saturating_add(1);
    match why {
        Unelected::NoNonce => {
            "no nonce of it stands on the broker, so nobody measured: `shoal fleet serve` draws one for every window".to_owned()
        }
        Unelected::NoClaim => "no claim of a particle that could be best stands on the broker".to_owned(),
        Unelected::NoneCounts { claims, below_gate } => {
            let others = claims.saturating_sub(below_gate);
            format!(
                "none of {claims} claims counts: {below_gate} below a gate of the utility, {others} measured on another part or pack, or \
                 without their particle"
            )
        }
        Unelected::NotAsked => format!(
            "no nonce of window {next} stands on the broker, so nobody was asked to vote: `shoal fleet serve` draws one for every window"
        ),
        Unelected::AllAside { claims } => {
            format!("all who claimed ({claims}) stand aside for what was found against them")
        }
        Unelected::NoQuorum { majority, voters, votes, missing } => format!(
            "too few voted in window {next}: {majority} of {voters} drawn must have measured a particle beside the same one, and at most \
             {votes} voted on one, of whom {missing} could not get it"
        ),
        Unelected::NoneBetter { gain, standard_error } => format!(
            "the votes found nothing surely better than what was best: the nearest by {gain:+.4}, with a standard error of \
             {standard_error:.4}"
        ),
        Unelected::BelowGate => {
            "what the votes found better is below a gate of the utility".to_owned()
        }
    }
}
