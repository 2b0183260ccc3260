//! What watches budgets is an `Observe`.
//~ an observer is a type

use tollgate::{
    BudgetLayer, MemoryStore,
    budget::{Key, Observe, StoreError},
};

struct Failures;

#[cfg(fixed)]
impl Observe for Failures {
    fn failed(&self, _: &Key<'_>, _: &StoreError) {}
}

fn layer(layer: BudgetLayer<MemoryStore>) {
    #[cfg(not(fixed))]
    let _ = layer.observe(|_: &Key<'_>, _: &StoreError| {});
    #[cfg(fixed)]
    let _ = layer.observe(Failures);
}
