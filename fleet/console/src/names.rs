//! What things are called in a view.

use shoal_swarm::campaign::Order;
use shoal_wire::v1::Rule;

/// Of a campaign, what is to be done with it.
pub const fn order(order: Order) -> &'static str {
    match order {
        Order::Run => "runs",
        Order::Pause => "paused",
        Order::Abort => "aborted",
        Order::RollBack => "rolled back",
    }
}

/// Of a swarm document's rule.
pub const fn rule(rule: &Rule) -> &'static str {
    match rule {
        Rule::Paper(_) => "paper",
        Rule::Consensus(_) => "consensus",
        Rule::Coefficients => "coefficients",
    }
}
