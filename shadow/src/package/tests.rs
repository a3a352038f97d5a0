use shoal_runtime::gradient::{LossKind, LossSpec};

use super::*;

const CAMERA: &str = "
rate_hz = 10
[frames]
input = 'frames'
width = 128
height = 64
[next_frame]
output = 'next'
";

const TINYPHYSICS: &str = "
rate_hz = 10.0
[signals]
input = 'states'
rows = 20
lag = 0
columns = [
    { field = 'steering_deg', scale = 0.01 },
    { constant = 0.0 },
    { field = 'speed_m_s' },
    { field = 'acceleration_m_s2' },
]
[tokens]
input = 'tokens'
rows = 20
field = 'lateral_acceleration_m_s2'
low = -5.0
high = 5.0
bins = 1024
[next_token]
output = 'output'
[adapter]
targets = ['*attn*']
rank = 4
";

fn parse(source: &str) -> Result<Description, DocumentError> {
    Description::parse("model.toml", source, "road")
}

fn refusal(source: &str) -> String {
    parse(source).unwrap_err().to_string()
}

#[test]
fn camera_model_needs_only_rate_shape_and_names() {
    let read = parse(CAMERA).unwrap();
    let frames = read.frames.as_ref().unwrap();
    assert_eq!((frames.count, frames.layout, frames.range), (4, Layout::Nchw, [0.0, 1.0]));
    assert_eq!(read.model, Path::new("model.onnx"));
    assert_eq!(read.name, "road");
    assert_eq!(read.adapter, Adapter { targets: vec![], rank: 8, alpha: 16.0 });
    assert_eq!(read.loss, [LossSpec::new(LossKind::Mse, "next")]);
    assert_eq!(read.context(), 4);
}

#[test]
fn tinyphysics_reaches_back_twenty_rows() {
    let read = parse(TINYPHYSICS).unwrap();
    assert_eq!(read.context(), 20);
    assert_eq!(read.signals.as_ref().unwrap().lag, 0);
    assert_eq!(read.tokens.as_ref().unwrap().lag, 1);
    assert_eq!(read.loss[0].kind, LossKind::CrossEntropy);
}

#[test]
fn written_description_reads_as_itself() {
    let action = "
        [action]\noutput = 'steer'\nfield = 'steering_rad'\nscale = 0.5\ntolerance = 0.05
        [[loss]]\nkind = 'mse'\noutput = 'steer'\n";
    let head = "footage = 'footage'\nname = 'a \"name\"'\nmodel_sha256 = '";
    let with_hash = format!("{head}{}'\n{TINYPHYSICS}{action}", "5a".repeat(32));
    let gaussian = format!("{CAMERA}{GAUSSIAN}");
    for source in [CAMERA, TINYPHYSICS, &with_hash, &gaussian] {
        let read = parse(source).unwrap();
        assert_eq!(parse(&read.to_toml()).unwrap(), read);
    }
}

const GAUSSIAN: &str = "
[[loss]]
kind = 'gaussian-nll'
output = 'next'
log_variance = 'doubt'
weight = 0.5
[[loss]]
kind = 'charbonnier'
output = 'next'
";

#[test]
fn losses_have_a_kind_an_output_and_a_weight() {
    let read = parse(&format!("{CAMERA}{GAUSSIAN}")).unwrap();
    let kind = LossKind::GaussianNll { log_variance: "doubt".into() };
    let charbonnier = LossSpec::new(LossKind::Charbonnier, "next");
    assert_eq!(read.loss, [LossSpec::new(kind, "next").times(0.5), charbonnier]);
    let said = |from: &str, to: &str| refusal(&format!("{CAMERA}{GAUSSIAN}").replace(from, to));
    assert!(said("log_variance = 'doubt'", "").contains("log_variance"));
    assert!(said("'gaussian-nll'", "'mse'").contains("gaussian-nll"));
    assert!(said("weight = 0.5", "weight = 0").contains("a number above 0"));
    assert!(said("'charbonnier'", "'huber'").contains("one of mse, charbonnier, "));
    assert!(said("weight = 0.5", "wieght = 0.5").contains("did you mean `weight`?"));
}

#[test]
fn misspelt_key_names_the_nearest_one() {
    let said = refusal(&CAMERA.replace("width", "widht"));
    assert_eq!(said, "model.toml:5: frames.widht: unknown key; did you mean `width`?");
    let said = refusal(&CAMERA.replace("[next_frame]", "[nextframe]"));
    assert_eq!(said, "model.toml:7: nextframe: unknown key; did you mean `next_frame`?");
}

#[test]
fn missing_rate_and_missing_size_are_named() {
    let said = refusal(&CAMERA.replace("rate_hz = 10", ""));
    assert_eq!(said, "model.toml:1: rate_hz: is required and has no default");
    let said = refusal(&CAMERA.replace("height = 64", ""));
    assert_eq!(said, "model.toml:3: frames.height: is required and has no default");
}

#[test]
fn model_without_input_or_output_is_refused() {
    let said = refusal("rate_hz = 10\n[action]\noutput='a'\nfield='speed_m_s'\ntolerance=1\n");
    assert!(said.contains("no input"), "{said}");
    let said = refusal(CAMERA.split("[next_frame]").next().unwrap());
    assert!(said.contains("no output"), "{said}");
}

#[test]
fn next_frame_without_a_camera_is_refused() {
    let said = refusal(&TINYPHYSICS.replace("[next_token]", "[next_frame]"));
    assert!(said.contains("[frames] beside it"), "{said}");
}

#[test]
fn field_that_does_not_exist_names_the_nearest() {
    let said = refusal(&TINYPHYSICS.replace("'speed_m_s'", "'speed_ms'"));
    assert!(said.starts_with("model.toml:10: signals.columns[2].field: `speed_ms`"), "{said}");
    assert!(said.contains("expected `speed_m_s`"), "{said}");
}

#[test]
fn path_that_leaves_the_package_is_refused() {
    for path in ["/etc/passwd", "../other/model.onnx", "a/../../b", ""] {
        let said = refusal(&format!("model = '{path}'\n{CAMERA}"));
        assert!(said.contains("inside the package's directory"), "{path}: {said}");
    }
}

#[test]
fn one_past_every_limit_is_refused() {
    let cases = [
        CAMERA.replace("128", "4097"),
        CAMERA.replace("width", "count = 65\nwidth"),
        CAMERA.replace("width", "range = [1.0, 1.0]\nwidth"),
        CAMERA.replace("width", "range = [0.0, 1e-60]\nwidth"),
        CAMERA.replace("width", "range = [16777216, 16777217]\nwidth"),
        CAMERA.replace("rate_hz = 10", "rate_hz = 1001"),
        TINYPHYSICS.replace("rank = 4", "rank = 256"),
        TINYPHYSICS.replace("rank = 4", "alpha = 0"),
        TINYPHYSICS.replace("rows = 20\nfield", "rows = 1000\nfield"),
        TINYPHYSICS.replace("bins = 1024", "bins = 65537"),
        TINYPHYSICS.replace("high = 5.0", "high = -5.0"),
        TINYPHYSICS.replace("scale = 0.01", "constant = 1.0"),
    ];
    for source in cases {
        assert!(refusal(&source).contains("not allowed"), "{source}");
    }
}

#[test]
fn open_checks_the_hash_of_the_model() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("model.onnx"), b"a model").unwrap();
    let hash = crate::digits::hex(&Sha256::digest(b"a model"));
    let write = |hash: &str| {
        let source = format!("model_sha256 = '{hash}'\n{CAMERA}");
        fs::write(dir.path().join(DESCRIPTION_FILE), source).unwrap();
    };

    write(&hash);
    let package = Package::open(dir.path()).unwrap();
    assert_eq!(package.model_path(), dir.path().join("model.onnx"));

    write(&"0".repeat(64));
    let error = Package::open(dir.path()).unwrap_err();
    assert!(matches!(error, OpenPackageError::Hash { .. }), "{error}");
    assert!(error.to_string().contains(&hash), "{error}");
}

#[test]
fn another_model_can_take_the_place_of_the_named_one() {
    let dir = tempfile::tempdir().unwrap();
    let source = format!("model_sha256 = '{}'\n{CAMERA}", "0".repeat(64));
    fs::write(dir.path().join(DESCRIPTION_FILE), source).unwrap();
    let elsewhere = dir.path().join("elsewhere.onnx");
    let said = Package::open_with(dir.path(), Some(&elsewhere)).unwrap_err().to_string();
    assert!(said.contains("elsewhere.onnx") && said.contains("--model"), "{said}");

    fs::write(&elsewhere, b"a model").unwrap();
    let package = Package::open_with(dir.path(), Some(&elsewhere)).unwrap();
    assert_eq!(package.model_path(), elsewhere);
}

#[test]
fn open_names_the_file_that_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let said = Package::open(dir.path()).unwrap_err().to_string();
    assert!(said.contains("model.toml"), "{said}");

    fs::write(dir.path().join(DESCRIPTION_FILE), CAMERA).unwrap();
    let said = Package::open(dir.path()).unwrap_err().to_string();
    assert!(said.contains("model.onnx"), "{said}");

    fs::write(dir.path().join("model.onnx"), b"").unwrap();
    fs::write(dir.path().join(DESCRIPTION_FILE), format!("footage = 'f'\n{CAMERA}")).unwrap();
    let said = Package::open(dir.path()).unwrap_err().to_string();
    assert!(said.contains("is not a folder"), "{said}");
}

/// The SHA-256 of action_grid/v1.
fn grid() -> String {
    crate::digits::hex(&crate::grid::SHA256)
}

const PILOT: &str = "
    rate_hz = 10.0
    [frames]
    input = 'x'
    count = 1
    width = 264
    height = 68
    [action]
    output = '78'
    field = 'steering_rad'
    scale = -1.0
    wheelbase_m = 2.5
    steering_ratio = 14.5
    width_per_m = 0.25
";

#[test]
fn a_policy_on_the_grid_reads_as_itself_and_names_the_grid() {
    let logits = CAMERA.replace("[next_frame]", "[action]").replace("'next'", "'logits'");
    let logits = format!("{logits}\ngrid = '{}'\n", grid());
    let read = parse(&logits).unwrap();
    assert_eq!(read.action.as_ref().unwrap().reading, Reading::Grid);
    assert_eq!(read.loss, [LossSpec::new(LossKind::CrossEntropy, "logits")]);
    assert_eq!(parse(&read.to_toml()).unwrap(), read);

    // Who was taught on generated roads goes over them at night, unless asked otherwise.
    assert_eq!((read.rehearsal(None), read.rehearsal(Some(0.25))), (0.0, 0.25));
    let taught = parse(&format!("{logits}rehearsal = 0.5\n")).unwrap();
    assert_eq!((taught.rehearsal(None), taught.rehearsal(Some(0.0))), (0.5, 0.0));
    assert_eq!(parse(&taught.to_toml()).unwrap(), taught);

    let steers = parse(&format!("{PILOT}grid = '{}'\n", grid())).unwrap();
    let geometry = Geometry::new(2.5, 14.5).unwrap();
    let want = Steering { field: Field::SteeringRad, scale: -1.0, geometry, width_per_m: 0.25 };
    assert_eq!(steers.action.as_ref().unwrap().reading, Reading::Steering(want));
    assert_eq!(steers.loss, []);
    assert_eq!(parse(&steers.to_toml()).unwrap(), steers);
}

#[test]
fn another_grid_and_half_a_steering_are_refused() {
    let said = refusal(&format!("{PILOT}grid = '{}'\n", "00".repeat(32)));
    assert!(said.contains("action_grid/v1") && said.contains(&grid()), "{said}");
    let whole = format!("{PILOT}grid = '{}'\n", grid());
    for (from, to, want) in [
        ("steering_ratio = 14.5", "", "steering_ratio"),
        ("width_per_m = 0.25", "width_per_m = 0.0", "a number above 0"),
        ("'steering_rad'", "'speed_m_s'", "no other number is told on the grid"),
        ("field = 'steering_rad'", "", "`field` beside it"),
        ("scale = -1.0", "tolerance = 1.0", "a policy on the grid without it"),
        ("scale = -1.0", "rehearsal = 0.5", "logits on the grid, or 0"),
    ] {
        let said = refusal(&whole.replace(from, to));
        assert!(said.contains(want), "{said}");
    }
    assert!(refusal(PILOT).contains("`grid` for it"));
}

/// The page of all keys: every example is a package, and the first two are those that ship.
#[test]
fn the_page_of_keys_holds_packages_and_names_every_key() {
    let page = include_str!("../../../docs/package.md");
    let blocks = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let parsed = |toml: &str| Description::parse("docs/package.md", toml, "x").unwrap();
    let all: Vec<Description> = blocks.map(parsed).collect();
    assert_eq!(all.len(), 6);
    let shipped = |name: &str| {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/");
        let toml = std::fs::read_to_string(format!("{file}{name}/model.toml")).unwrap();
        parsed(&toml)
    };
    let (world, policy) = (shipped("world"), shipped("policy"));
    assert_eq!(
        Description { signals: None, footage: None, ..all[0].clone() },
        Description { signals: None, footage: None, ..world }
    );
    assert_eq!((&all[1].frames, &all[1].action), (&policy.frames, &policy.action));
    let keys =
        super::read::ROOT.iter().chain(&["columns", "constant", "log_variance", "low", "bins"]);
    for key in keys {
        let named = page.contains(&format!("{key} = ")) || page.contains(&format!("[{key}]"));
        let named = named || page.contains(&format!(".{key}]"));
        assert!(named, "docs/package.md does not name {key}");
    }
}
