use tollgate_budget::{Charge, Units};

use crate::names::{self, Names, Shape};

/// What is charged together: a reservation's key, the windows, and how much.
#[derive(Debug)]
pub(crate) struct Target {
    reservation: String,
    pub(crate) places: Box<[Place]>,
    pub(crate) cost: Units,
}

#[derive(Debug)]
pub(crate) struct Place {
    key: String,
    pub(crate) shape: Shape,
}

impl Target {
    pub(crate) fn new(names: &Names, id: u128, charge: &Charge<'_>) -> Self {
        let home = names.home(charge.workspace);
        let place = |window| Place {
            key: names.window(&home, window),
            shape: names.shape(window.span),
        };
        Self {
            reservation: names::reservation(&home, id),
            places: charge.windows.iter().map(place).collect(),
            cost: charge.cost,
        }
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        let windows = self.places.iter().map(|place| &*place.key);
        [&*self.reservation].into_iter().chain(windows)
    }
}
