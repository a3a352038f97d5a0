//! `model.toml` into a [`Description`].

use std::path::{Component, Path, PathBuf};

use shoal_hal::FrameShape;
use shoal_runtime::gradient::{LossKind, LossSpec};

use super::{
    Action, Adapter, Bins, CONTEXT_ROWS_MAX, Codes, Column, Description, Field, Frames, Layout,
    NextFrame, NextToken, Reading, Signals, Steering, TokenKind, Tokens,
};
use crate::digits;
use crate::document::{Document, DocumentError, Table};
use crate::grid::{self, Geometry};

const SIDE_PIXELS_MAX: i64 = 4096;
const FRAMES_MAX: i64 = 64;
const COLUMNS_MAX: usize = 64;
const RANK_MAX: i64 = 255;
const NUMBER_MAX: f64 = 1e9;

pub(super) const LAYOUTS: [(&str, Layout); 3] =
    [("nchw", Layout::Nchw), ("nhwc", Layout::Nhwc), ("nthwc", Layout::Nthwc)];
const LOSSES: [&str; 4] = ["mse", "charbonnier", "cross-entropy", "gaussian-nll"];
const LOSS_WEIGHT_MAX: f64 = 1e6;

/// What a kind of loss is called in `model.toml`.
pub(crate) const fn loss_name(kind: &LossKind) -> &'static str {
    match kind {
        LossKind::Mse => LOSSES[0],
        LossKind::Charbonnier => LOSSES[1],
        LossKind::CrossEntropy => LOSSES[2],
        LossKind::GaussianNll { .. } => LOSSES[3],
    }
}

pub(super) const ROOT: [&str; 13] = [
    "name",
    "model",
    "model_sha256",
    "rate_hz",
    "footage",
    "frames",
    "signals",
    "tokens",
    "next_frame",
    "next_token",
    "action",
    "adapter",
    "loss",
];

pub(super) fn description(
    file: &str,
    source: &str,
    name: &str,
) -> Result<Description, DocumentError> {
    let document = Document::parse(file, source)?;
    let root = document.root(&ROOT)?;
    let frames = frames(&root)?;
    let tokens = tokens(&root)?;
    let next_frame = next_frame(&root, frames.as_ref())?;
    let next_token = next_token(&root, tokens.as_ref())?;
    let mut description = Description {
        name: root.text("name")?.unwrap_or(name).into(),
        model: path(&root, "model")?.unwrap_or_else(|| "model.onnx".into()),
        model_sha256: sha256(&root)?,
        rate_hz: root.number("rate_hz", 0.1..=1000.0)?.ok_or_else(|| root.missing("rate_hz"))?,
        frames,
        signals: signals(&root)?,
        tokens,
        next_frame,
        next_token,
        action: action(&root)?,
        adapter: adapter(&root)?,
        loss: losses(&root)?,
        footage: path(&root, "footage")?,
    };
    check(&root, &description)?;
    if description.loss.is_empty() {
        description.loss = default_loss(&description);
    }
    Ok(description)
}

fn check(root: &Table<'_>, description: &Description) -> Result<(), DocumentError> {
    let no_input = description.frames.is_none()
        && description.signals.is_none()
        && description.tokens.is_none();
    if no_input {
        return Err(root.refuse("frames", "no input", "a table [frames], [signals] or [tokens]"));
    }
    let no_output = description.next_frame.is_none()
        && description.next_token.is_none()
        && description.action.is_none();
    if no_output {
        let want = "a table [next_frame], [next_token] or [action]";
        return Err(root.refuse("next_frame", "no output", want));
    }
    Ok(())
}

fn default_loss(description: &Description) -> Vec<LossSpec> {
    let frame = description.next_frame.iter();
    let frame = frame.map(|next| LossSpec::new(LossKind::Mse, &next.output));
    let token = description.next_token.iter();
    let token = token.map(|next| LossSpec::new(LossKind::CrossEntropy, &next.output));
    let losses: Vec<LossSpec> = frame.chain(token).collect();
    match &description.action {
        Some(Action { output, reading: Reading::Grid, .. }) if losses.is_empty() => {
            vec![LossSpec::new(LossKind::CrossEntropy, output)]
        }
        Some(_) | None => losses,
    }
}

fn frames(root: &Table<'_>) -> Result<Option<Frames>, DocumentError> {
    let keys = ["input", "count", "width", "height", "layout", "range"];
    let Some(table) = root.table("frames", &keys)? else { return Ok(None) };
    let side = |key| -> Result<u16, DocumentError> {
        let side = table.integer(key, 1..=SIDE_PIXELS_MAX)?.ok_or_else(|| table.missing(key))?;
        Ok(u16::try_from(side).expect("inside its bounds"))
    };
    let shape = FrameShape { width: side("width")?, height: side("height")? };
    Ok(Some(Frames {
        input: table.text_required("input")?.into(),
        count: count(&table, "count", 1..=FRAMES_MAX)?.unwrap_or(4),
        shape,
        layout: table.choice("layout", &LAYOUTS)?.unwrap_or(Layout::Nchw),
        range: range(&table)?.unwrap_or([0.0, 1.0]),
    }))
}

fn signals(root: &Table<'_>) -> Result<Option<Signals>, DocumentError> {
    let keys = ["input", "rows", "lag", "columns"];
    let Some(table) = root.table("signals", &keys)? else { return Ok(None) };
    let columns = table.tables("columns", &["field", "scale", "offset", "constant"])?;
    if columns.is_empty() || columns.len() > COLUMNS_MAX {
        let got = format!("{} columns", columns.len());
        return Err(table.refuse("columns", got, &format!("1 to {COLUMNS_MAX} columns")));
    }
    let columns = columns.iter().map(column).collect::<Result<Vec<Column>, _>>()?;
    let (rows, lag) = rows_and_lag(&table)?;
    Ok(Some(Signals { input: table.text_required("input")?.into(), rows, lag, columns }))
}

fn column(table: &Table<'_>) -> Result<Column, DocumentError> {
    if table.has("constant") {
        if let Some(other) = ["field", "scale", "offset"].iter().find(|key| table.has(key)) {
            return Err(table.refuse(other, "a key beside `constant`", "`constant` alone"));
        }
        return Ok(Column::Constant(small(table, "constant")?.unwrap_or(0.0)));
    }
    Ok(Column::Field {
        field: field(table)?,
        scale: small(table, "scale")?.unwrap_or(1.0),
        offset: small(table, "offset")?.unwrap_or(0.0),
    })
}

fn tokens(root: &Table<'_>) -> Result<Option<Tokens>, DocumentError> {
    let of_motion = ["field", "low", "high", "bins"];
    let of_codes = ["vocabulary", "frame", "place"];
    let keys: Vec<&str> =
        ["input", "rows", "lag"].into_iter().chain(of_motion).chain(of_codes).collect();
    let Some(table) = root.table("tokens", &keys)? else { return Ok(None) };
    let (rows, lag) = rows_and_lag(&table)?;
    let is_codes = table.has("vocabulary");
    let (others, want) = if is_codes {
        (&of_motion[..], "`vocabulary`, `frame` and `place`")
    } else {
        (&of_codes[1..], "a key beside `vocabulary`")
    };
    if let Some(other) = others.iter().find(|key| table.has(key)) {
        return Err(table.refuse(other, "a key of other tokens", want));
    }
    let kind = if is_codes {
        TokenKind::Codes(codes(&table)?)
    } else {
        TokenKind::Motion { field: field(&table)?, bins: bins(&table)? }
    };
    Ok(Some(Tokens { input: table.text_required("input")?.into(), rows, lag, kind }))
}

fn codes(table: &Table<'_>) -> Result<Codes, DocumentError> {
    let count_max = i64::try_from(Bins::COUNT_MAX).expect("a small constant");
    let of = |key, least| count(table, key, least..=count_max)?.ok_or_else(|| table.missing(key));
    Ok(Codes {
        vocabulary: of("vocabulary", 2)?,
        frame: of("frame", 1)?,
        place: table.text("place")?.map(String::from),
    })
}

fn next_frame(
    root: &Table<'_>,
    frames: Option<&Frames>,
) -> Result<Option<NextFrame>, DocumentError> {
    let keys = ["output", "layout", "range"];
    let Some(table) = root.table("next_frame", &keys)? else { return Ok(None) };
    let Some(frames) = frames else {
        return Err(root.refuse("next_frame", "a next frame", "a table [frames] beside it"));
    };
    Ok(Some(NextFrame {
        output: table.text_required("output")?.into(),
        layout: table.choice("layout", &LAYOUTS)?.unwrap_or(frames.layout),
        range: range(&table)?.unwrap_or(frames.range),
    }))
}

fn next_token(
    root: &Table<'_>,
    tokens: Option<&Tokens>,
) -> Result<Option<NextToken>, DocumentError> {
    let Some(table) = root.table("next_token", &["output"])? else { return Ok(None) };
    if tokens.is_none() {
        return Err(root.refuse("next_token", "a next token", "a table [tokens] beside it"));
    }
    Ok(Some(NextToken { output: table.text_required("output")?.into() }))
}

fn action(root: &Table<'_>) -> Result<Option<Action>, DocumentError> {
    let of_bins = ["low", "high", "bins"];
    let of_grid = ["grid", "wheelbase_m", "steering_ratio", "width_per_m"];
    let keys: Vec<&str> = ["output", "rehearsal", "field", "scale", "tolerance"]
        .into_iter()
        .chain(of_bins)
        .chain(of_grid)
        .collect();
    let Some(table) = root.table("action", &keys)? else { return Ok(None) };
    let none_of = |others: &[&str], beside: &str, want: &str| match others
        .iter()
        .find(|key| table.has(key))
    {
        Some(other) => Err(table.refuse(other, format_args!("a key beside `{beside}`"), want)),
        None => Ok(()),
    };
    let reading = if table.has("grid") {
        none_of(&["tolerance", "low", "high", "bins"], "grid", "a policy on the grid without it")?;
        on_the_grid(&table)?
    } else if table.has("bins") {
        none_of(&["scale", "tolerance"], "bins", "`low`, `high` and `bins`")?;
        Reading::Logits { field: field(&table)?, bins: bins(&table)? }
    } else {
        none_of(&of_grid[1..], "tolerance", "`grid` for it")?;
        let tolerance = above_zero(&table, "tolerance")?;
        Reading::Value {
            field: field(&table)?,
            scale: small(&table, "scale")?.unwrap_or(1.0),
            tolerance,
        }
    };
    let rehearsal = table.number("rehearsal", 0.0..=0.9)?.unwrap_or(0.0) as f32;
    if rehearsal > 0.0 && reading != Reading::Grid {
        let want = "a policy whose output is logits on the grid, or 0";
        return Err(table.refuse("rehearsal", rehearsal, want));
    }
    Ok(Some(Action { output: table.text_required("output")?.into(), reading, rehearsal }))
}

/// Logits of the grid, or with a `field` a steering angle that is told on it.
fn on_the_grid(table: &Table<'_>) -> Result<Reading, DocumentError> {
    let hash = table.text_required("grid")?;
    if digits::hash(hash) != Some(grid::SHA256) {
        let want = format!("{}, whose SHA-256 is {}", grid::NAME, digits::hex(&grid::SHA256));
        return Err(table.refuse("grid", format_args!("`{hash}`"), &want));
    }
    if !table.has("field") {
        let of_steering = ["scale", "wheelbase_m", "steering_ratio", "width_per_m"];
        return match of_steering.iter().find(|key| table.has(key)) {
            Some(other) => Err(table.refuse(other, "a key of steering", "`field` beside it")),
            None => Ok(Reading::Grid),
        };
    }
    let steers = field(table)?;
    if !matches!(steers, Field::SteeringRad | Field::SteeringDeg) {
        let want = "`steering_rad` or `steering_deg`: no other number is told on the grid";
        return Err(table.refuse("field", format_args!("`{}`", steers.name()), want));
    }
    let length = |key| table.number(key, 1e-3..=1e3)?.ok_or_else(|| table.missing(key));
    let geometry = Geometry::new(length("wheelbase_m")?, length("steering_ratio")?);
    Ok(Reading::Steering(Steering {
        field: steers,
        scale: small(table, "scale")?.unwrap_or(1.0),
        geometry: geometry.ok_or_else(|| table.missing("wheelbase_m"))?,
        width_per_m: above_zero(table, "width_per_m")?,
    }))
}

fn above_zero(table: &Table<'_>, key: &str) -> Result<f32, DocumentError> {
    let number = small(table, key)?.ok_or_else(|| table.missing(key))?;
    if number <= 0.0 {
        return Err(table.refuse(key, number, "a number above 0"));
    }
    Ok(number)
}

fn adapter(root: &Table<'_>) -> Result<Adapter, DocumentError> {
    let default = Adapter::default();
    let keys = ["targets", "rank", "alpha"];
    let Some(table) = root.table("adapter", &keys)? else { return Ok(default) };
    let alpha = small(&table, "alpha")?.unwrap_or(default.alpha);
    if alpha <= 0.0 {
        return Err(table.refuse("alpha", alpha, "a number above 0"));
    }
    Ok(Adapter {
        targets: table.texts("targets")?.into_iter().map(String::from).collect(),
        rank: count(&table, "rank", 1..=RANK_MAX)?.unwrap_or(default.rank),
        alpha,
    })
}

fn losses(root: &Table<'_>) -> Result<Vec<LossSpec>, DocumentError> {
    let tables = root.tables("loss", &["kind", "output", "weight", "log_variance"])?;
    tables.iter().map(loss).collect()
}

fn loss(table: &Table<'_>) -> Result<LossSpec, DocumentError> {
    let kinds = LOSSES.map(|name| (name, name));
    let name = table.choice("kind", &kinds)?.ok_or_else(|| table.missing("kind"))?;
    let kind = match name {
        "charbonnier" => LossKind::Charbonnier,
        "cross-entropy" => LossKind::CrossEntropy,
        "gaussian-nll" => {
            let log_variance = table.text_required("log_variance")?.into();
            LossKind::GaussianNll { log_variance }
        }
        _ => LossKind::Mse,
    };
    if name != "gaussian-nll" && table.has("log_variance") {
        let want = "a loss of kind `gaussian-nll` for it";
        return Err(table.refuse("log_variance", "a variance", want));
    }
    let factor = table.number("weight", 0.0..=LOSS_WEIGHT_MAX)?.unwrap_or(1.0);
    if factor == 0.0 {
        return Err(table.refuse("weight", factor, "a number above 0"));
    }
    Ok(LossSpec::new(kind, table.text_required("output")?).times(factor))
}

fn rows_and_lag(table: &Table<'_>) -> Result<(usize, usize), DocumentError> {
    let rows_max = i64::try_from(CONTEXT_ROWS_MAX).expect("a small constant");
    let rows = count(table, "rows", 1..=rows_max)?.unwrap_or(1);
    let lag = count(table, "lag", 0..=rows_max)?.unwrap_or(1);
    if rows + lag > CONTEXT_ROWS_MAX {
        let want = format!("rows + lag of at most {CONTEXT_ROWS_MAX}");
        return Err(table.refuse("rows", rows + lag, &want));
    }
    Ok((rows, lag))
}

fn field(table: &Table<'_>) -> Result<Field, DocumentError> {
    table.choice("field", &Field::NAMES)?.ok_or_else(|| table.missing("field"))
}

fn bins(table: &Table<'_>) -> Result<Bins, DocumentError> {
    let bound =
        |key| table.number(key, -NUMBER_MAX..=NUMBER_MAX)?.ok_or_else(|| table.missing(key));
    let (low, high) = (bound("low")?, bound("high")?);
    let count_max = i64::try_from(Bins::COUNT_MAX).expect("a small constant");
    let count = count(table, "bins", 2..=count_max)?.ok_or_else(|| table.missing("bins"))?;
    let want = "a number above `low`";
    Bins::new(low, high, count).ok_or_else(|| table.refuse("high", high, want))
}

fn range(table: &Table<'_>) -> Result<Option<[f32; 2]>, DocumentError> {
    let Some(range) = table.numbers("range")? else { return Ok(None) };
    match range[..] {
        // The two as a model has them: what is apart by less than that is one number, and nothing divides by it.
        [low, high] if (low as f32) < (high as f32) && low >= -NUMBER_MAX && high <= NUMBER_MAX => {
            Ok(Some([low as f32, high as f32]))
        }
        _ => Err(table.refuse("range", format_args!("{range:?}"), "[low, high] with low < high")),
    }
}

fn small(table: &Table<'_>, key: &str) -> Result<Option<f32>, DocumentError> {
    Ok(table.number(key, -NUMBER_MAX..=NUMBER_MAX)?.map(|number| number as f32))
}

fn count(
    table: &Table<'_>,
    key: &str,
    bounds: std::ops::RangeInclusive<i64>,
) -> Result<Option<usize>, DocumentError> {
    let count = table.integer(key, bounds)?;
    Ok(count.map(|count| usize::try_from(count).expect("bounds begin at 0 or above")))
}

fn path(table: &Table<'_>, key: &str) -> Result<Option<PathBuf>, DocumentError> {
    let Some(text) = table.text(key)? else { return Ok(None) };
    let path = Path::new(text);
    let inside = path.components().all(|component| matches!(component, Component::Normal(_)));
    if text.is_empty() || !inside {
        let want = "a path inside the package's directory";
        return Err(table.refuse(key, format_args!("`{text}`"), want));
    }
    Ok(Some(path.into()))
}

fn sha256(table: &Table<'_>) -> Result<Option<[u8; 32]>, DocumentError> {
    let Some(text) = table.text("model_sha256")? else { return Ok(None) };
    match digits::hash(text) {
        Some(hash) => Ok(Some(hash)),
        None => Err(table.refuse("model_sha256", format_args!("`{text}`"), "64 hex digits")),
    }
}
