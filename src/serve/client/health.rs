//! One question of `grpc.health.v1`, with an answer for scripts: exit code 0, 1 or 2.

use serde_json::json;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::connect::{connection, with_causes};
use super::{Answered, ClientError, told};
use crate::config::ServerConfig;

/// It serves; it says that it does not; it says nothing.
const SERVES: u8 = 0;
const DOES_NOT_SERVE: u8 = 1;
const NO_ANSWER: u8 = 2;

/// Asks whether a server, or one service of it, serves.
pub(super) async fn check(server: &ServerConfig, service: &str) -> Result<Answered, ClientError> {
    let mut client = HealthClient::new(connection(server)?);
    let mut request = Request::new(HealthCheckRequest { service: service.to_owned() });
    request.set_timeout(server.timeout);
    // The server may not keep to the time it was given.
    let asked = tokio::time::timeout(server.timeout, client.check(request)).await;
    let is_late = match &asked {
        Err(_) => true,
        // The channel has its own watch.
        Ok(Err(status)) => matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded),
        Ok(Ok(_)) => false,
    };
    let (status, exit_code) = match asked {
        _ if is_late => (format!("NO_ANSWER within {} ms", server.timeout.as_millis()), NO_ANSWER),
        Err(_) => ("NO_ANSWER".to_owned(), NO_ANSWER),
        Ok(Ok(answer)) => match answer.into_inner().status() {
            ServingStatus::Serving => ("SERVING".to_owned(), SERVES),
            other => (other.as_str_name().to_owned(), DOES_NOT_SERVE),
        },
        Ok(Err(status)) if status.code() == Code::NotFound => {
            ("SERVICE_UNKNOWN".to_owned(), DOES_NOT_SERVE)
        }
        Ok(Err(status)) => {
            (format!("NO_ANSWER: {}", with_causes(told(&status), &status)), NO_ANSWER)
        }
    };
    let json = json!({
        "addr": server.addr, "service": service, "status": status,
        "serves": exit_code == SERVES,
    });
    Ok(Answered { text: format!("{status}\n"), json, exit_code })
}
