//! Whether the server remembers.

use redis::{
    RedisResult, Value,
    aio::{ConnectionLike, MultiplexedConnection},
};

use crate::ids;

/// A number that the server keeps for all who ask. Another one, and it has forgotten everything: it
/// was restarted or flushed, or another server took its place.
pub(crate) struct Memory {
    key: String,
    number: Option<Vec<u8>>,
}

impl Memory {
    pub(crate) fn new(key: String) -> Self {
        Self { key, number: None }
    }

    /// Asks the server, and says whether it has forgotten the number of before. It is also how the
    /// server is found to serve: one that only reads has no number to give.
    pub(crate) async fn is_lost(
        &mut self,
        connection: &mut MultiplexedConnection,
    ) -> RedisResult<bool> {
        let mut number = self.get(connection).await?;
        if number.is_none() {
            let mut set = redis::cmd("SET");
            let new = format!("{:032x}", ids::random());
            set.arg(&self.key).arg(new).arg("NX");
            connection
                .req_packed_command(&set)
                .await
                .and_then(Value::extract_error)?;
            // Somebody else may have been first.
            number = self.get(connection).await?;
        }
        let before = self.number.replace(number.unwrap_or_default());
        Ok(before.is_some_and(|before| self.number != Some(before)))
    }

    async fn get(&self, connection: &mut MultiplexedConnection) -> RedisResult<Option<Vec<u8>>> {
        let mut get = redis::cmd("GET");
        get.arg(&self.key);
        let answer = connection.req_packed_command(&get).await;
        redis::from_redis_value(answer.and_then(Value::extract_error)?).map_err(Into::into)
    }
}
