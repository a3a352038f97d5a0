use super::{Ctx, Types};

pub(super) fn infer(_ctx: &Ctx<'_>, _op: &str) -> Option<Types> {
    None
}
