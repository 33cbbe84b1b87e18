// Gets an object every second, of the STS double, which answers with the ARN of the caller. Prints
// the outcome, a line for each call.
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::{Error, ObjectStoreExt, path::Path};
use std::time::Duration;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let store = AmazonS3Builder::from_env()
        .with_endpoint(std::env::var("AWS_ENDPOINT_URL_STS").unwrap_or_default())
        .with_allow_http(true)
        .with_bucket_name("trial")
        .build()?;
    loop {
        match get(&store).await {
            Ok(arn) => println!("ok {arn}"),
            Err(error) => println!("failed {error}"),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn get(store: &AmazonS3) -> Result<String, Error> {
    let content = store.get(&Path::from("identity")).await?.bytes().await?;
    Ok(String::from_utf8_lossy(&content).into_owned())
}
