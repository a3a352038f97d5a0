//! Whoever looks at the page can read it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

const STYLE: &str = include_str!("../page/style.css");
/// What WCAG 2 asks of text, level AA.
const CONTRAST_MIN: f64 = 4.5;

/// The colours of each `:root`, by name: first those of a light page, then those of a dark one.
fn schemes() -> Vec<BTreeMap<&'static str, [u8; 3]>> {
    let blocks = STYLE.split(":root {").skip(1).map(|rest| rest.split('}').next().unwrap());
    let colour = |line: &'static str| {
        let (name, value) = line.trim().split_once(": #")?;
        let channel = |at: usize| u8::from_str_radix(&value[at..at + 2], 16).unwrap();
        Some((name, [channel(0), channel(2), channel(4)]))
    };
    blocks.map(|block| block.split(';').filter_map(colour).collect()).collect()
}

/// The colours that text has: of HTML, and of SVG.
fn of_text() -> Vec<&'static str> {
    let rules = STYLE.split('}').filter_map(|rule| rule.split_once('{'));
    let declared = rules.flat_map(|(selector, block)| {
        block.split(';').filter_map(move |declaration| {
            let (property, value) = declaration.trim().split_once(": var(")?;
            let svg = property == "fill" && selector.trim_end().ends_with("text");
            (property == "color" || svg).then(|| value.trim_end_matches(')'))
        })
    });
    declared.collect()
}

fn luminance(colour: [u8; 3]) -> f64 {
    let linear = colour.map(|channel| {
        let share = f64::from(channel) / 255.0;
        if share <= 0.04045 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
    });
    0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
}

#[test]
fn text_stands_out_from_the_paper_in_light_and_dark() {
    let (schemes, texts) = (schemes(), of_text());
    assert_eq!((schemes.len(), texts.len() > 15), (2, true), "{texts:?}");
    for colours in schemes {
        for text in &texts {
            let lights = [*text, "--paper"].map(|name| luminance(colours[name]));
            let (more, less) = (lights[0].max(lights[1]), lights[0].min(lights[1]));
            let contrast = (more + 0.05) / (less + 0.05);
            assert!(contrast >= CONTRAST_MIN, "{text} on --paper: {contrast:.2}");
        }
    }
}
