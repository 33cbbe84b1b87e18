import software.amazon.awssdk.services.sts.StsClient;

/** Calls GetCallerIdentity every second, and prints the outcome, a line for each call. */
public class Main {
	public static void main(String[] args) throws InterruptedException {
		StsClient client = StsClient.create();
		for (;; Thread.sleep(1000)) {
			try {
				System.out.println("ok " + client.getCallerIdentity().arn());
			} catch (RuntimeException e) {
				System.out.println("failed " + e);
			}
		}
	}
}
