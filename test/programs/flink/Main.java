import java.io.IOException;
import java.net.URI;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.core.fs.FSDataInputStream;
import org.apache.flink.core.fs.FileSystem;
import org.apache.flink.core.fs.Path;

/** Reads an object every second with a file system of Flink. */
public class Main {
	public static void main(String[] args) throws IOException, InterruptedException {
		Configuration configuration = new Configuration();
		configuration.setString("s3.endpoint", System.getenv("AWS_ENDPOINT_URL"));
		configuration.setString("s3.region", System.getenv("AWS_REGION"));
		configuration.setString("s3.path-style-access", "true");
		String provider = System.getenv("PROVIDER");
		if (provider != null) {
			configuration.setString("fs.s3a.aws.credentials.provider", provider);
		}
		FileSystem.initialize(configuration, null);
		FileSystem files = FileSystem.get(URI.create("s3://trial/"));
		for (;; Thread.sleep(1000)) {
			try (FSDataInputStream object = files.open(new Path("s3://trial/object"))) {
				System.out.println(object.read());
			} catch (IOException | RuntimeException e) {
				System.out.println(e);
			}
		}
	}
}
