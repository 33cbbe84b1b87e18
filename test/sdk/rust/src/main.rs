// Calls GetCallerIdentity every second, and prints the outcome, a line for each call.
use aws_sdk_sts::error::DisplayErrorContext;
use std::time::Duration;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let client = aws_sdk_sts::Client::new(&aws_config::load_from_env().await);
    loop {
        match client.get_caller_identity().send().await {
            Ok(identity) => println!("ok {}", identity.arn().unwrap_or_default()),
            Err(error) => println!("failed {}", DisplayErrorContext(error)),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
