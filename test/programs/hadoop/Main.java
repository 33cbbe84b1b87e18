import java.io.IOException;
import java.net.URI;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FSDataInputStream;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;

/** Reads an object every second with S3A. */
public class Main {
	public static void main(String[] args) throws IOException, InterruptedException {
		Configuration configuration = new Configuration();
		configuration.set("fs.s3a.endpoint", System.getenv("AWS_ENDPOINT_URL"));
		configuration.set("fs.s3a.endpoint.region", System.getenv("AWS_REGION"));
		configuration.set("fs.s3a.path.style.access", "true");
		configuration.set("fs.s3a.attempts.maximum", "1");
		configuration.set("fs.s3a.retry.limit", "1");
		String provider = System.getenv("PROVIDER");
		if (provider != null) {
			configuration.set("fs.s3a.aws.credentials.provider", provider);
		}
		FileSystem files = FileSystem.get(URI.create("s3a://trial/"), configuration);
		for (;; Thread.sleep(1000)) {
			try (FSDataInputStream object = files.open(new Path("/object"))) {
				System.out.println(object.read());
			} catch (IOException e) {
				System.out.println(e);
			}
		}
	}
}
