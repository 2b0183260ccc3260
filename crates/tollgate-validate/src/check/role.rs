/// Who a message is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Assistant,
    Developer,
    Function,
    System,
    Tool,
    User,
}

impl Role {
    /// As the API lists them.
    pub(super) const NAMES: &'static [&'static str] = &[
        "system",
        "assistant",
        "user",
        "function",
        "tool",
        "developer",
    ];

    pub(super) fn named(name: &str) -> Self {
        match name {
            "assistant" => Self::Assistant,
            "developer" => Self::Developer,
            "function" => Self::Function,
            "system" => Self::System,
            "tool" => Self::Tool,
            _ => Self::User,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Assistant => "assistant",
            Self::Developer => "developer",
            Self::Function => "function",
            Self::System => "system",
            Self::Tool => "tool",
            Self::User => "user",
        }
    }
}
