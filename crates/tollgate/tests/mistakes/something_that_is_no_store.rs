//! What counts calls is a `Store`.
//~ `MemoryStore` counts in this process

use tollgate::{BudgetLayer, Limits, MemoryStore};

fn layer(limits: Limits) {
    #[cfg(not(fixed))]
    let store = std::collections::HashMap::<String, u64>::new();
    #[cfg(fixed)]
    let store = MemoryStore::new();
    let _ = BudgetLayer::new(store, limits);
}
