//! What watches budgets is an `Observe`.
//~ an observer is a type

use tollgate::{
    BudgetLayer, MemoryStore,
    budget::{Denial, Key, Observe},
};

struct Denials;

#[cfg(fixed)]
impl Observe for Denials {
    fn denied(&self, _: &Key<'_>, _: &Denial) {}
}

fn layer(layer: BudgetLayer<MemoryStore>) {
    #[cfg(not(fixed))]
    let _ = layer.observe(|_: &Key<'_>, _: &Denial| {});
    #[cfg(fixed)]
    let _ = layer.observe(Denials);
}
