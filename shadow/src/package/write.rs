//! A [`Description`] into `model.toml`, every default written out.

use toml::{Table, Value};

use shoal_runtime::gradient::{LossKind, LossSpec};

use super::{Bins, Column, Description, Layout, Reading, TokenKind, read};
use crate::digits;
use crate::grid;

pub(super) fn description(description: &Description) -> String {
    let mut root = Table::new();
    put(&mut root, "name", description.name.as_str());
    put(&mut root, "model", description.model.to_string_lossy().as_ref());
    if let Some(hash) = description.model_sha256 {
        put(&mut root, "model_sha256", digits::hex(&hash));
    }
    put(&mut root, "rate_hz", description.rate_hz);
    if let Some(footage) = &description.footage {
        put(&mut root, "footage", footage.to_string_lossy().as_ref());
    }
    inputs(&mut root, description);
    outputs(&mut root, description);
    let mut adapter = Table::new();
    put(&mut adapter, "targets", description.adapter.targets.clone());
    put(&mut adapter, "rank", whole(description.adapter.rank));
    put(&mut adapter, "alpha", f64::from(description.adapter.alpha));
    put(&mut root, "adapter", adapter);
    put(&mut root, "loss", description.loss.iter().map(loss).collect::<Vec<Value>>());
    root.to_string()
}

fn inputs(root: &mut Table, description: &Description) {
    if let Some(frames) = &description.frames {
        let mut table = Table::new();
        put(&mut table, "input", frames.input.as_str());
        put(&mut table, "count", whole(frames.count));
        put(&mut table, "width", i64::from(frames.shape.width));
        put(&mut table, "height", i64::from(frames.shape.height));
        put(&mut table, "layout", layout(frames.layout));
        put(&mut table, "range", frames.range.map(f64::from).to_vec());
        put(root, "frames", table);
    }
    if let Some(signals) = &description.signals {
        let mut table = Table::new();
        put(&mut table, "input", signals.input.as_str());
        put(&mut table, "rows", whole(signals.rows));
        put(&mut table, "lag", whole(signals.lag));
        put(&mut table, "columns", signals.columns.iter().map(column).collect::<Vec<Value>>());
        put(root, "signals", table);
    }
    if let Some(tokens) = &description.tokens {
        let mut table = Table::new();
        put(&mut table, "input", tokens.input.as_str());
        put(&mut table, "rows", whole(tokens.rows));
        put(&mut table, "lag", whole(tokens.lag));
        match &tokens.kind {
            TokenKind::Motion { field, bins: of } => {
                put(&mut table, "field", field.name());
                bins(&mut table, of);
            }
            TokenKind::Codes(codes) => {
                put(&mut table, "vocabulary", whole(codes.vocabulary));
                put(&mut table, "frame", whole(codes.frame));
                if let Some(place) = &codes.place {
                    put(&mut table, "place", place.as_str());
                }
            }
        }
        put(root, "tokens", table);
    }
}

fn outputs(root: &mut Table, description: &Description) {
    if let Some(next) = &description.next_frame {
        let mut table = Table::new();
        put(&mut table, "output", next.output.as_str());
        put(&mut table, "layout", layout(next.layout));
        put(&mut table, "range", next.range.map(f64::from).to_vec());
        put(root, "next_frame", table);
    }
    if let Some(next) = &description.next_token {
        let mut table = Table::new();
        put(&mut table, "output", next.output.as_str());
        put(root, "next_token", table);
    }
    if let Some(action) = &description.action {
        let mut table = Table::new();
        put(&mut table, "output", action.output.as_str());
        if action.rehearsal > 0.0 {
            put(&mut table, "rehearsal", f64::from(action.rehearsal));
        }
        match &action.reading {
            Reading::Value { field, scale, tolerance } => {
                put(&mut table, "field", field.name());
                put(&mut table, "scale", f64::from(*scale));
                put(&mut table, "tolerance", f64::from(*tolerance));
            }
            Reading::Logits { field, bins: of } => {
                put(&mut table, "field", field.name());
                bins(&mut table, of);
            }
            Reading::Grid => put(&mut table, "grid", digits::hex(&grid::SHA256)),
            Reading::Steering(steering) => {
                put(&mut table, "grid", digits::hex(&grid::SHA256));
                put(&mut table, "field", steering.field.name());
                put(&mut table, "scale", f64::from(steering.scale));
                put(&mut table, "wheelbase_m", steering.geometry.wheelbase_m());
                put(&mut table, "steering_ratio", steering.geometry.steering_ratio());
                put(&mut table, "width_per_m", f64::from(steering.width_per_m));
            }
        }
        put(root, "action", table);
    }
}

fn column(column: &Column) -> Value {
    let mut table = Table::new();
    match column {
        Column::Field { field, scale, offset } => {
            put(&mut table, "field", field.name());
            put(&mut table, "scale", f64::from(*scale));
            put(&mut table, "offset", f64::from(*offset));
        }
        Column::Constant(value) => put(&mut table, "constant", f64::from(*value)),
    }
    table.into()
}

fn loss(loss: &LossSpec) -> Value {
    let mut table = Table::new();
    put(&mut table, "kind", read::loss_name(&loss.kind));
    put(&mut table, "output", loss.output.as_str());
    if loss.factor != 1.0 {
        put(&mut table, "weight", loss.factor);
    }
    match &loss.kind {
        LossKind::GaussianNll { log_variance } => {
            put(&mut table, "log_variance", log_variance.as_str());
        }
        LossKind::Mse | LossKind::Charbonnier | LossKind::CrossEntropy => {}
    }
    table.into()
}

fn bins(table: &mut Table, bins: &Bins) {
    put(table, "low", bins.low());
    put(table, "high", bins.high());
    put(table, "bins", whole(bins.count()));
}

fn layout(layout: Layout) -> &'static str {
    let name = read::LAYOUTS.iter().find(|(_, known)| *known == layout).map(|(name, _)| *name);
    name.expect("every layout is in the table of names")
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).expect("counts are bounded far below")
}

fn put(table: &mut Table, key: &str, value: impl Into<Value>) {
    table.insert(key.into(), value.into());
}
