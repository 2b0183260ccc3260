//! What watches events is a `Tap`.
//~ a tap is a type that implements `Tap::event`

use tollgate::{
    SseLayer,
    sse::{Flow, Tap},
};

struct Watch;

#[cfg(fixed)]
impl Tap for Watch {
    fn event(&mut self, _: &[u8]) -> Flow {
        Flow::Keep
    }
}

fn layer() {
    #[cfg(not(fixed))]
    let _ = SseLayer::new().tap(|_: &[u8]| Flow::Keep);
    #[cfg(fixed)]
    let _ = SseLayer::new().tap(Watch);
}
