//! What counts tokens is a `TokenCounter`.
//~ a counter is a type that implements `TokenCounter::bounds`

#[cfg(fixed)]
use tollgate::Estimator;
use tollgate::{Models, ModelsLayer};

fn layer(models: Models) {
    #[cfg(not(fixed))]
    let counter = |text: &str| text.split(' ').count();
    #[cfg(fixed)]
    let counter = Estimator::default();
    let _ = ModelsLayer::new(models).counter(counter);
}
