//! The greedy soup.

use crate::input::{InputError, Members};
use crate::merge::uniform;
use crate::search::{Meter, SearchError, not_a_number};

/// What a greedy soup holds.
#[derive(Clone, Debug, PartialEq)]
pub struct GreedySoup {
    /// The mean of the selected, `[dim]`.
    pub values: Vec<f32>,
    /// Indices of members, in the order they were added.
    pub selected: Vec<usize>,
    /// As measured.
    pub utility: f64,
}

/// The greedy soup: members in falling order of their own utility (the first of equals first), each added if the mean with
/// it is not worse than without.
///
/// n − 1 evaluations; when the budget ends, so does the soup.
///
/// # Shapes and units
/// `utilities`: of each member alone, `[count]`.
/// # Errors
/// [`SearchError`] if there is not one utility a member, one is NaN, or the measurement fails.
/// # Source
/// Model soups, arXiv 2203.05482, recipe 1.
pub fn greedy<F, E>(
    members: &Members<'_>,
    utilities: &[f64],
    meter: &mut Meter<F>,
) -> Result<GreedySoup, SearchError<E>>
where
    F: FnMut(&[f32]) -> Result<f64, E>,
{
    crate::input::count("utilities", utilities.len(), members.count())?;
    utilities.iter().enumerate().try_for_each(|(at, utility)| not_a_number(at, *utility))?;
    let mut order: Vec<usize> = (0..members.count()).collect();
    order.sort_by(|a, b| utilities[*b].total_cmp(&utilities[*a]));
    let best = order[0];
    let mut soup = GreedySoup {
        values: members.rows()[best].to_vec(),
        selected: vec![best],
        utility: utilities[best],
    };
    for next in order.into_iter().skip(1) {
        let selected = [soup.selected.as_slice(), &[next]].concat();
        let values = mean_of(members, &selected)?;
        let Some(utility) = meter.measure(&values)? else { break };
        if utility >= soup.utility {
            soup = GreedySoup { values, selected, utility };
        }
    }
    Ok(soup)
}

fn mean_of(members: &Members<'_>, selected: &[usize]) -> Result<Vec<f32>, InputError> {
    let rows: Vec<&[f32]> = selected.iter().map(|index| members.rows()[*index]).collect();
    Ok(uniform(&Members::new(&rows)?))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    const ROWS: [[f32; 2]; 3] = [[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]];

    /// Best at (½, ½), which is the mean of the first two.
    fn utility(x: &[f32]) -> Result<f64, Infallible> {
        Ok(-f64::from((x[0] - 0.5).powi(2) + (x[1] - 0.5).powi(2)))
    }

    #[test]
    fn what_makes_it_worse_stays_out() {
        let members = Members::new(&ROWS).unwrap();
        let mut meter = Meter::new(10, utility);
        let soup = greedy(&members, &[-0.5, -0.5, -4.5], &mut meter).unwrap();
        assert_eq!((soup.selected, soup.values), (vec![0, 1], vec![0.5, 0.5]));
        assert_eq!((soup.utility, meter.used()), (0.0, 2));
    }

    #[test]
    fn a_soup_ends_with_its_budget() {
        let members = Members::new(&ROWS).unwrap();
        let mut meter = Meter::new(0, utility);
        let soup = greedy(&members, &[-0.5, -0.4, -4.5], &mut meter).unwrap();
        assert_eq!((soup.selected, soup.utility, meter.used()), (vec![1], -0.4, 0));
    }

    #[test]
    fn a_utility_that_is_no_number_is_refused() {
        let members = Members::new(&ROWS).unwrap();
        let mut meter = Meter::new(10, utility);
        assert!(greedy(&members, &[-0.5, f64::NAN, -4.5], &mut meter).is_err());
        assert!(greedy(&members, &[-0.5], &mut meter).is_err());
    }
}
