use shoal_runtime::gradient::LossKind;

use crate::finite::{Case, Feed, even};

/// A matrix product, so that a loss has something to be differentiated by.
fn product(kind: LossKind, factor: f64) {
    let feeds = vec![Feed::Frozen(even(&[3, 4], 1)), Feed::Wanted(even(&[4, 5], 2))];
    Case::new(feeds).loss(kind, factor).check(|b, v| b.op("MatMul", &[&v[0], &v[1]], &[]).unwrap());
}

#[test]
fn charbonnier_is_the_root_of_the_squared_error_and_its_epsilon() {
    product(LossKind::Charbonnier, 1.0);
}

#[test]
fn a_loss_counts_as_often_as_its_factor_says() {
    for kind in [LossKind::Mse, LossKind::Charbonnier, LossKind::CrossEntropy] {
        product(kind, 0.375);
    }
}

/// Both the mean and the logarithm of the variance get a gradient.
#[test]
fn gaussian_likelihood_moves_the_mean_and_the_variance() {
    let feeds = vec![
        Feed::Frozen(even(&[3, 4], 1)),
        Feed::Wanted(even(&[4, 5], 2)),
        Feed::Wanted(even(&[4, 5], 3)),
    ];
    let kind = LossKind::GaussianNll { log_variance: "s".into() };
    Case::new(feeds).loss(kind, 0.5).check(|b, v| {
        let s = b.op("MatMul", &[&v[0], &v[2]], &[]).unwrap();
        b.output("s", &s);
        b.op("MatMul", &[&v[0], &v[1]], &[]).unwrap()
    });
}

/// A variance that nothing wanted reaches is read, and gets no gradient.
#[test]
fn gaussian_likelihood_takes_a_variance_that_stands_still() {
    let feeds = vec![
        Feed::Frozen(even(&[3, 4], 1)),
        Feed::Wanted(even(&[4, 5], 2)),
        Feed::Frozen(even(&[3, 5], 3)),
    ];
    let kind = LossKind::GaussianNll { log_variance: "s".into() };
    Case::new(feeds).loss(kind, 1.0).check(|b, v| {
        let s = b.op("Tanh", &[&v[2]], &[]).unwrap();
        b.output("s", &s);
        b.op("MatMul", &[&v[0], &v[1]], &[]).unwrap()
    });
}

#[test]
fn cross_entropy_ignores_a_target_that_is_no_class_whatever_its_weight() {
    for opset in [11, 17] {
        let feeds = vec![Feed::Wanted(even(&[6, 5], 1))];
        let labels = ([-1, 2, -100, 5, 0, -100], [1.0, 0.5, 1.0, 1.0, 2.0, 0.0]);
        let case = Case::new(feeds).opset(opset).labelled(&labels.0, &labels.1);
        case.check(|b, v| b.op("Tanh", &[&v[0]], &[]).unwrap());
    }
}
