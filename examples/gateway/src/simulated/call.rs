//! What the simulation understands of a request.

use http::StatusCode;
use serde_json::Value;

use super::fault::Fault;

/// A chat completion request, as far as the simulation obeys it.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    /// What the last user message says.
    pub(super) question: String,
    pub(super) trigger: Trigger,
    pub(super) form: Form,
    /// The most tokens that the answer may have.
    pub(super) cap: Option<usize>,
    /// A guess, as good as a simulation needs it.
    pub(super) prompt_tokens: usize,
}

/// The form in which an answer is wanted.
#[derive(Debug)]
pub(super) enum Form {
    /// Plain text.
    Text,
    /// Plain text about what a tool has found out.
    ToolResult(String),
    /// A call of this tool, whose parameters have this schema.
    ToolCall { name: String, parameters: Value },
    /// Any JSON object.
    JsonObject,
    /// JSON of this schema.
    JsonSchema(Value),
}

/// What the end of the question asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trigger {
    None,
    Cut,
    Hang,
    Slow,
    Status(StatusCode),
}

impl Call {
    pub(super) fn read(body: &[u8]) -> Result<Self, Fault> {
        let request: Value = serde_json::from_slice(body)
            .map_err(|_| Fault::bad_request("We could not parse the JSON body of your request."))?;
        let messages = request["messages"]
            .as_array()
            .filter(|messages| !messages.is_empty())
            .ok_or_else(|| Fault::bad_request("Missing required parameter: 'messages'."))?;
        let question = messages
            .iter()
            .rfind(|message| message["role"] == "user")
            .map(text_of)
            .unwrap_or_default();
        let cap = ["max_completion_tokens", "max_tokens"]
            .iter()
            .find_map(|name| request[*name].as_u64())
            .map(|cap| usize::try_from(cap).unwrap_or(usize::MAX));
        Ok(Self {
            stream: request["stream"] == true,
            include_usage: request["stream_options"]["include_usage"] == true,
            trigger: Trigger::in_text(&question),
            form: Form::of(&request, messages),
            question,
            cap,
            prompt_tokens: messages
                .iter()
                .map(|m| 4 + text_of(m).len() / 4)
                .sum::<usize>()
                + 3,
        })
    }
}

impl Form {
    fn of(request: &Value, messages: &[Value]) -> Self {
        let last = messages.last().unwrap_or(&Value::Null);
        if last["role"] == "tool" || last["role"] == "function" {
            return Self::ToolResult(text_of(last));
        }
        if let Some(tool) = wanted_tool(request) {
            return Self::ToolCall {
                name: tool["name"].as_str().unwrap_or("tool").to_owned(),
                parameters: tool["parameters"].clone(),
            };
        }
        let format = &request["response_format"];
        match format["type"].as_str() {
            Some("json_object") => Self::JsonObject,
            Some("json_schema") => Self::JsonSchema(format["json_schema"]["schema"].clone()),
            _ => Self::Text,
        }
    }
}

impl Trigger {
    fn in_text(text: &str) -> Self {
        let mut words = text.split_whitespace().rev();
        match words.next() {
            Some("!cut") => Self::Cut,
            Some("!hang") => Self::Hang,
            Some("!slow") => Self::Slow,
            Some(number) if words.next() == Some("!status") => number
                .parse()
                .ok()
                .and_then(|number| StatusCode::from_u16(number).ok())
                .map_or(Self::None, Self::Status),
            _ => Self::None,
        }
    }
}

/// The function to call: the one that `tool_choice` names, or else the first.
fn wanted_tool(request: &Value) -> Option<&Value> {
    let choice = &request["tool_choice"];
    let tools = request["tools"].as_array()?;
    if choice == "none" {
        return None;
    }
    let named = choice["function"]["name"].as_str();
    tools
        .iter()
        .map(|tool| &tool["function"])
        .find(|function| named.is_none_or(|name| function["name"] == name))
}

/// A message's text, whether it is one string or parts.
fn text_of(message: &Value) -> String {
    match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts
            .iter()
            .filter_map(|part| part["text"].as_str())
            .collect::<Vec<_>>()
            .join(" "),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call(request: &Value) -> Call {
        Call::read(request.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn triggers_stand_at_the_end() {
        assert_eq!(Trigger::in_text("please !cut"), Trigger::Cut);
        assert_eq!(Trigger::in_text("please !cut not"), Trigger::None);
        assert_eq!(
            Trigger::in_text("!status 503"),
            Trigger::Status(StatusCode::SERVICE_UNAVAILABLE)
        );
        assert_eq!(Trigger::in_text("!status many"), Trigger::None);
        assert_eq!(Trigger::in_text(""), Trigger::None);
    }

    #[test]
    fn tools_are_called_until_there_is_a_result() {
        let tools = json!([{"type": "function", "function": {"name": "a"}},
                           {"type": "function", "function": {"name": "b"}}]);
        let user = json!({"role": "user", "content": [{"type": "text", "text": "hi"}]});
        let first = call(&json!({"messages": [user], "tools": tools}));
        assert!(matches!(&first.form, Form::ToolCall { name, .. } if name == "a"));
        assert_eq!(first.question, "hi");

        let choice = json!({"type": "function", "function": {"name": "b"}});
        let chosen = call(&json!({"messages": [user], "tools": tools, "tool_choice": choice}));
        assert!(matches!(&chosen.form, Form::ToolCall { name, .. } if name == "b"));

        let none = call(&json!({"messages": [user], "tools": tools, "tool_choice": "none"}));
        assert!(matches!(none.form, Form::Text));

        let result = json!({"role": "tool", "tool_call_id": "c", "content": "12 °C"});
        let second = call(&json!({"messages": [user, result], "tools": tools}));
        assert!(matches!(&second.form, Form::ToolResult(text) if text == "12 °C"));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for body in ["", "{", "[]", "{}", r#"{"messages":[]}"#] {
            let fault = Call::read(body.as_bytes()).unwrap_err();
            assert_eq!(fault.into_response().status(), 400, "{body}");
        }
    }
}
