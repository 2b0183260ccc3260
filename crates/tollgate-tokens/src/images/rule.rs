use tollgate_core::{ImageDetail, TokenBounds};

/// How a model's tokens for an image follow from its size.
///
/// The two rules of OpenAI's vision guide. Nothing is ever fetched: an image at a URL has no size,
/// and only the most that it can cost is known.
///
/// ```
/// use tollgate_core::ImageDetail;
/// use tollgate_tokens::ImageRule;
///
/// let gpt_4o = ImageRule::tiles(85, 170);
/// assert_eq!(gpt_4o.tokens(2_048, 4_096, ImageDetail::High), 1_105);
/// assert_eq!(gpt_4o.tokens(2_048, 4_096, ImageDetail::Low), 85);
/// assert_eq!(gpt_4o.most(ImageDetail::High), 1_445);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageRule(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Patches { hundredths: u32 },
    Tiles { base: u32, tile: u32 },
}

impl ImageRule {
    /// At high detail the image is shrunk to fit a square of 2,048 pixels and then until its
    /// shorter side has at most 768; it costs `base`, and `tile` for each square of 512 begun. At
    /// low detail it costs `base`.
    #[must_use]
    pub const fn tiles(base: u32, tile: u32) -> Self {
        Self(Kind::Tiles { base, tile })
    }

    /// The image is shrunk until at most 1,536 squares of 32 pixels cover it; each costs
    /// `hundredths` of a token. The total is rounded up.
    #[must_use]
    pub const fn patches(hundredths: u32) -> Self {
        Self(Kind::Patches { hundredths })
    }

    /// The published rule for models of this name; `None` if none is known.
    #[must_use]
    pub fn of_model(name: &str) -> Option<Self> {
        let mut families = FAMILIES.iter();
        let (_, rule) = families.find(|(prefix, _)| name.starts_with(prefix))?;
        Some(*rule)
    }

    /// The tokens of an image of this many pixels. What is [`ImageDetail::Auto`] counts as low if
    /// both sides have at most 512 pixels, and as high otherwise.
    #[must_use]
    pub fn tokens(self, width: u32, height: u32, detail: ImageDetail) -> u64 {
        let low = match detail {
            ImageDetail::Low => true,
            ImageDetail::Auto => width.max(height) <= TILE,
            _ => false,
        };
        match self.0 {
            Kind::Tiles { base, .. } if low => u64::from(base),
            Kind::Tiles { base, tile } => u64::from(base) + tiles(width, height) * u64::from(tile),
            Kind::Patches { hundredths } => {
                (patches(width, height) * u64::from(hundredths)).div_ceil(100)
            }
        }
    }

    /// The most that any image costs.
    #[must_use]
    pub fn most(self, detail: ImageDetail) -> u64 {
        match (self.0, detail) {
            (Kind::Tiles { base, .. }, ImageDetail::Low) => u64::from(base),
            (Kind::Tiles { base, tile }, _) => u64::from(base) + MOST_TILES * u64::from(tile),
            (Kind::Patches { hundredths }, _) => {
                (MOST_PATCHES * u64::from(hundredths)).div_ceil(100)
            }
        }
    }

    /// The least that any image costs.
    fn least(self) -> u64 {
        match self.0 {
            Kind::Tiles { base, .. } => u64::from(base),
            Kind::Patches { hundredths } => u64::from(hundredths).div_ceil(100),
        }
    }

    /// Bounds of an image whose size may be unknown. What the model makes of `auto` is its own
    /// choice, so both are possible.
    pub(crate) fn bounds(self, size: Option<(u32, u32)>, detail: ImageDetail) -> TokenBounds {
        let Some((width, height)) = size else {
            let most = self.most(detail);
            return TokenBounds::new(self.least(), most, most);
        };
        let tokens = self.tokens(width, height, detail);
        match detail {
            ImageDetail::Auto => TokenBounds::new(
                self.tokens(width, height, ImageDetail::Low),
                tokens,
                self.tokens(width, height, ImageDetail::High),
            ),
            _ => TokenBounds::exact(tokens),
        }
    }
}

// From OpenAI's vision guide; longer prefixes first. The factors of the smaller gpt-5 models and
// of the o series have moved between editions.
const FAMILIES: &[(&str, ImageRule)] = &[
    ("gpt-4o-mini", ImageRule::tiles(2_833, 5_667)),
    ("gpt-4o", ImageRule::tiles(85, 170)),
    ("chatgpt-4o", ImageRule::tiles(85, 170)),
    ("gpt-4.1-mini", ImageRule::patches(162)),
    ("gpt-4.1-nano", ImageRule::patches(246)),
    ("gpt-4", ImageRule::tiles(85, 170)),
    ("gpt-5-mini", ImageRule::patches(162)),
    ("gpt-5-nano", ImageRule::patches(246)),
    ("gpt-5", ImageRule::tiles(70, 140)),
    ("o1", ImageRule::tiles(75, 150)),
    ("o3", ImageRule::tiles(75, 150)),
    ("o4-mini", ImageRule::patches(172)),
];

const TILE: u32 = 512;
const LONGER_SIDE: u64 = 2_048;
const SHORTER_SIDE: u64 = 768;
const MOST_TILES: u64 = 8;
const PATCH: u64 = 32;
const MOST_PATCHES: u64 = 1_536;

fn tiles(width: u32, height: u32) -> u64 {
    let [width, height] = [width, height].map(|side| u64::from(side).max(1));
    let (longer, shorter) = (width.max(height), width.min(height));
    // Both shrinkings at once, as a fraction: the stronger one wins, and nothing is enlarged.
    let (mut num, mut den) = (1, 1);
    if longer > LONGER_SIDE {
        (num, den) = (LONGER_SIDE, longer);
    }
    if shorter * num > SHORTER_SIDE * den {
        (num, den) = (SHORTER_SIDE, shorter);
    }
    let across = |side: u64| (side * num).div_ceil(den * u64::from(TILE)).max(1);
    across(width) * across(height)
}

fn patches(width: u32, height: u32) -> u64 {
    let [width, height] = [width, height].map(|side| u64::from(side).max(1));
    let [columns, rows] = [width, height].map(|side| side.div_ceil(PATCH));
    if columns * rows <= MOST_PATCHES {
        return columns * rows;
    }
    // Shrunk so that 1,536 patches cover its area, and then on until one side is whole patches.
    let [w, h] = [width as f64, height as f64];
    let across = (MOST_PATCHES as f64 * w / h).sqrt();
    let down = (MOST_PATCHES as f64 * h / w).sqrt();
    let (columns, rows) = if across.floor() / across <= down.floor() / down {
        let columns = (across.floor() as u64).max(1);
        (columns, (columns * height).div_ceil(width))
    } else {
        let rows = (down.floor() as u64).max(1);
        ((rows * width).div_ceil(height), rows)
    };
    (columns * rows).min(MOST_PATCHES)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn published_examples() {
        let high = |model: &str, width, height| {
            ImageRule::of_model(model)
                .unwrap()
                .tokens(width, height, ImageDetail::High)
        };
        assert_eq!(high("gpt-4o", 1_024, 1_024), 765);
        assert_eq!(high("gpt-4o", 2_048, 4_096), 1_105);
        assert_eq!(high("gpt-4o-mini-2024-07-18", 2_048, 4_096), 36_835);
        assert_eq!(high("gpt-4.1-mini", 1_024, 1_024), 1_659);
        assert_eq!(high("gpt-4.1-mini", 1_800, 2_400), 2_353);
        assert_eq!(ImageRule::of_model("house-model"), None);
    }

    #[test]
    fn auto_is_low_for_small_images() {
        let rule = ImageRule::tiles(85, 170);
        let auto = |width, height| rule.tokens(width, height, ImageDetail::Auto);
        assert_eq!(auto(512, 512), 85);
        assert_eq!(auto(513, 1), 85 + 2 * 170);
        let bounds = rule.bounds(Some((512, 512)), ImageDetail::Auto);
        assert_eq!(bounds, TokenBounds::new(85, 85, 255));
    }

    #[test]
    fn sizes_beyond_reason_do_not_overflow() {
        for rule in [
            ImageRule::tiles(u32::MAX, u32::MAX),
            ImageRule::patches(u32::MAX),
        ] {
            for (width, height) in [(0, 0), (u32::MAX, u32::MAX), (1, u32::MAX), (u32::MAX, 0)] {
                let tokens = rule.tokens(width, height, ImageDetail::High);
                assert!(tokens <= rule.most(ImageDetail::High));
            }
        }
    }

    proptest! {
        #[test]
        fn no_image_costs_more_than_the_most(width: u32, height: u32) {
            for rule in [ImageRule::tiles(85, 170), ImageRule::patches(162)] {
                for detail in [ImageDetail::Low, ImageDetail::Auto, ImageDetail::High] {
                    let tokens = rule.tokens(width, height, detail);
                    let turned = rule.tokens(height, width, detail);
                    prop_assert!(rule.least() <= tokens && tokens <= rule.most(detail));
                    prop_assert_eq!(tokens, turned);
                }
            }
        }
    }
}
