"""What Streamlit runs for each change on the page. It lies in a folder of its own, which Streamlit makes an import path."""

from workbench.dashboard.page import show_page

show_page()
